"""The console script `alexnet-jax` and `python -m alexnet_jax`: the program of `main.py`."""

from alexnet_jax import search_path

if __name__ == "__main__":
    search_path.drop_current_folder()

from alexnet_jax import signals, streams


def run() -> None:
    """Do what `alexnet-jax` does."""
    signals.catch()  # the import below takes a while
    streams.prepare()
    from alexnet_jax import main

    main.entry()


if __name__ == "__main__":
    run()
