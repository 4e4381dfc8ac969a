"""`python -m alexnet_jax`: the same program as `python -m alexnet_jax.main`."""

from alexnet_jax import search_path

if __name__ == "__main__":
    search_path.drop_current_folder()

from alexnet_jax import signals

if __name__ == "__main__":
    signals.catch()  # the import below takes a while

from alexnet_jax import main

if __name__ == "__main__":
    main.entry()
