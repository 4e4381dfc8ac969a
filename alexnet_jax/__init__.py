"""AlexNet as Krizhevsky, Sutskever and Hinton trained it (NIPS 2012), in JAX and Flax."""

__version__ = "1.0.0"
