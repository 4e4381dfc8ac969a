"""AlexNet as Krizhevsky, Sutskever and Hinton trained it, in JAX and Flax.

Sections, figures and tables that a docstring cites without a title are of their paper, "ImageNet
classification with deep convolutional neural networks" (NIPS 2012); "the 2012 source" is their program.
"""

__version__ = "1.0.0"
