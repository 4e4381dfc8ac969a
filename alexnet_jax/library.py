"""AlexNet as a library: `create` an untrained net, `load` a trained one.

`import alexnet_jax` offers these names; they are loaded when they are first used.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict
from PIL import Image

from alexnet_jax import runtime
from alexnet_jax.config import find, resolve
from alexnet_jax.data import images as pixels
from alexnet_jax.data import pipeline
from alexnet_jax.data.augment import center_offset
from alexnet_jax.errors import UsageError, WrongTypeError
from alexnet_jax.evaluation import activations
from alexnet_jax.inference.features import ahead
from alexnet_jax.interop import convert, named_weights
from alexnet_jax.model import architectures, inputs, sharding
from alexnet_jax.model.network import AlexNet
from alexnet_jax.model.specs import Table
from alexnet_jax.training import setup, warm_start
from alexnet_jax.workdir import trained

__all__ = ["AlexNet", "Net", "batches", "create", "load"]

# A path, uint8 (H, W), (H, W, 1) or (H, W, 3), or an image of Pillow.
AnyImage = str | Path | np.ndarray | Image.Image


def create(
    architecture: str | Table = "alexnet_2012",
    *,
    mesh: Mesh | None = None,
    forward_mode: bool = False,
    **arguments: Any,
) -> AlexNet:
    """Create a net: a Flax Linen module, without parameters.

    >>> import jax
    >>> import alexnet_jax
    >>> model = alexnet_jax.create("alexnet_2012", classes=10, width=0.25, crop=96)
    >>> variables = model.init(jax.random.key(0))
    >>> model.apply(variables, jax.numpy.zeros((2, 96, 96, 3))).shape
    (2, 10)

    Args:
      architecture: a name of `alexnet_jax.model.architectures.TABLES`, by default the paper's net, or a table
        of one's own, which ends in a `Dense` that `reads` 'sum'.
      mesh: devices with the axes 'data' and 'model', over which `apply` spreads images and towers, such as
        `jax.make_mesh((1, 2), ("data", "model"))`; None: wherever the arrays lie.
      forward_mode: take JAX's own derivatives, so that `jax.jvp` and `jax.hessian` work; training is slower.
      **arguments: of the architecture, such as classes, width, crop, channels, dropout and compute_dtype;
        those left away are the published net's. For a table: crop (224), channels (3), compute_dtype.

    Returns:
      The module: `init(key)`, `apply(variables, x, train=False)`.

    Raises:
      UsageError, WrongTypeError: an unknown name or argument, a value that an argument cannot have, an image
        that is too small, a mesh that does not fit. ValueErrors, each of one line.
    """
    if isinstance(architecture, Table):
        return AlexNet(architectures.of_table(architecture, arguments), mesh, forward_mode)
    if not isinstance(architecture, str):
        raise WrongTypeError(f"an architecture is a name or a Table, not {type(architecture).__name__}")
    return AlexNet(architectures.create(architecture, arguments), mesh, forward_mode)


def load(source: str | Path, checkpoint: str = "best") -> "Net":
    """Load a trained net on the devices at hand.

    Args:
      source: the workdir of a run, or a file of weights: torchvision's .pth, .safetensors, a .caffemodel
        or .npz, as the command `convert` reads them; or the name of a net that comes along, such as
        'cifar10' (docs/pretrained.md), or 'torchvision', whose published file is fetched when it is first
        asked for. A folder of such a name is meant by './cifar10'.
      checkpoint: of a workdir: 'best', 'last' or a step.

    Returns:
      The net, to be asked by `predict` and `features`, or as a pure function by `apply`.

    Raises:
      UsageError: neither of the two, not of an AlexNet, no such checkpoint. WrongTypeError: not a path.
      RunFailure: the checkpoint is corrupt, or torchvision's file cannot be fetched.
    """
    if not isinstance(source, str | Path):
        raise WrongTypeError(f"load takes a path, str or pathlib.Path, not {type(source).__name__}")
    named = named_weights.is_name(str(source))
    path = named_weights.weights_file(str(source)) if named else Path(source).expanduser()
    if path.is_dir():
        return _as_net(trained.load(path, trained.read_config(path), str(checkpoint)))
    if not path.exists():
        raise UsageError(f"{path} does not exist: load takes a workdir, a file of weights, or a net's name")
    recipes = {name: find.load_file(f"imagenet_{name}") for name in ("torchvision", "caffe")}
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder) / "converted"
        convert.to_workdir(path, workdir, recipes)
        net = _as_net(trained.load(workdir, trained.read_config(workdir)))
    return replace(net, workdir=path)


def batches(
    config: str | Path, *, data_dir: str | Path = "", batch_size: int = 0, epochs: float = 1.0, seed: int = 0
) -> Iterator[tuple[jax.Array, jax.Array]]:
    """Yield the training batches of a prepared dataset, for a training loop of one's own.

    They are what `train` sees, decided by the same functions: of its training split, without what it holds
    out to validate, shuffled by epochs, cropped, flipped, with lighting, minus the mean, as the config says;
    the same for the same seed. With `config.train.init_from` the mean is that of the net named there, and
    with `config.train.min_steps` a batch that is more than the images is halved.

    Args:
      config: the name of a config that comes along, such as 'digits', or a config file, which is run.
      data_dir: where the dataset lies; empty: where the config says.
      batch_size: in the place of `config.data.batch_size`, images a batch; 0: the config's.
      epochs: how often each image comes, a fraction allowed; the last batch may reach into the epoch after.
      seed: of the order and of the augmentation, from 0; `train` has `config.seed`.

    Yields:
      float32 (B, crop, crop, C) and labels int32 (B,).

    Raises:
      UsageError: no such config, one that `train` refuses for its keys, its data or the net that it starts
        from, or a value that an argument cannot have, which is named as the config's key.
      RunFailure: a damaged record.
    """
    tree = resolve.freeze(find.load_file(config)).to_dict()
    tree["seed"], tree["train"]["epochs"] = seed, epochs
    tree["data"]["dir"] = str(data_dir) or tree["data"]["dir"]
    tree["data"]["batch_size"] = batch_size or tree["data"]["batch_size"]
    given = warm_start.resolve_probe(ConfigDict(tree), None)
    resolved, dataset, images = setup.open_data(given)
    data, statistics = resolved.data, dataset.statistics
    if resolved.train.init_from:
        net = architectures.build(resolved.model, data.crop, data.channels)
        statistics = warm_start.open_initial(resolved, net).statistics
    normalization = inputs.Normalization(data.mean, data.input_std)
    mean = inputs.mean_array(normalization, statistics.mean, statistics.rgb_mean, data.crop)
    count, rows = resolve.batches(resolved, images, epochs), (0, data.batch_size)
    read = pipeline.training_batches(dataset, data, seed, first_batch=0, last_batch=count, rows=rows)
    with closing(read):
        for batch in read:
            yield _normalise(batch, mean, normalization), jnp.asarray(batch["label"])


_normalise = jax.jit(inputs.normalise, static_argnames="normalization")


class Net(trained.TrainedNet):
    """A trained net: what `load` gives.

    Attributes:
      architecture: the table of its layers.
      class_names: by label; `readable_names` has 'magpie' for ImageNet's 'n01582220'.
      config: of the run that trained it.
      params: {layer: {'kernel', 'bias'}}, float32, towers first; `variables` is {'params': params}.
      mesh: the devices on which the parameters lie.
    """

    @property
    def model(self) -> AlexNet:
        """The net as a Flax Linen module."""
        return AlexNet(self.architecture, None if self.mesh.size == 1 else self.mesh)

    @property
    def variables(self) -> dict[str, Any]:
        """Flax Linen's tree, {'params': params}: the first argument of `apply`."""
        return {"params": self.params}

    def apply(self, variables: Any, x: jax.Array, **options: Any) -> Any:
        """Return the logits (B, classes) of normalised images, as a pure function of its arguments.

        Args:
          variables: `self.variables`, or a tree like it.
          x: what `preprocess` gives, float32 (B, crop, crop, C).
          **options: of Flax Linen's `apply`, such as train, rngs and capture_intermediates.

        Raises:
          WrongTypeError: not floats. UsageError: another shape, or no variables.
        """
        if not isinstance(variables, Mapping) or "params" not in variables:
            raise UsageError("the first argument of apply is net.variables, a tree {'params': {...}}")
        return self.model.apply(variables, x, **options)

    def preprocess(self, images: AnyImage | Iterable[AnyImage]) -> jax.Array:
        """Return images as the net reads them: the centre view, minus the mean, float32 (B, crop, crop, C).

        Args:
          images: as for `predict`.

        Raises:
          WrongTypeError, UsageError: as `predict`. BadImage: a file that cannot be read or decoded.
        """
        whole = jnp.asarray(np.stack(list(self._squares(images))))
        edge = center_offset(self.size, self.architecture.crop)
        view = inputs.view(whole, edge, edge, False, self.architecture.crop)
        return inputs.normalise(view, jnp.asarray(jax.device_get(self.mean)), self.normalization)

    def predict(self, images: AnyImage | Iterable[AnyImage], views: int = 1) -> np.ndarray:
        """Return the probabilities of the classes, float32 (N, classes), as the command `predict` has them.

        Args:
          images: one or several; each a path, uint8 (H, W), (H, W, 1) or (H, W, 3) of any size, or an image
            of Pillow; or one array uint8 (N, H, W, C). They are scaled and cropped as files are.
          views: 1, the centre, or 10, averaged.

        Raises:
          WrongTypeError: something else, such as floats. UsageError: an array of another shape, no image,
            other views, partial weights. BadImage: a file that cannot be read or decoded.
        """
        if views not in (1, 10):
            raise UsageError(f"views={views!r}: there are 1 and 10")
        predictor = self.predictor(views)

        def probabilities(rows: np.ndarray) -> np.ndarray:
            padding = sharding.padded_batch_size(len(rows), self.mesh) - len(rows)
            padded = np.pad(rows, [(0, padding), (0, 0), (0, 0), (0, 0)])
            return np.asarray(predictor(activations.on_mesh(self, padded)))[: len(rows)]

        return np.concatenate([probabilities(rows) for rows in self._batches(images)])

    def features(
        self, images: AnyImage | Iterable[AnyImage], layers: Sequence[str], cropped: bool = False
    ) -> dict[str, np.ndarray]:
        """Return the values of layers by name, centre view, as the command `features` has them.

        Args:
          images: as for `predict`; with `cropped` one array uint8 (N, crop, crop, C).
          layers: names such as 'relu5' and 'fc7'.
          cropped: whether the images are ready crops of the net's input size.

        Returns:
          {name: (N, H, W, C) or (N, C)}, float32 (float64 of a net that computes so).

        Raises:
          WrongTypeError, UsageError: as `predict`, or an unknown layer.
          BadImage: a file that cannot be read or decoded.
        """
        names = [layers] if isinstance(layers, str) else list(layers)
        activations.shapes_of(self.architecture, names)
        batch_size = self.config.evaluate.batch_size
        if cropped:
            inputs.check_images(images, (self.architecture.crop,), self.architecture.channels)
            return activations.activations(self, np.asarray(images), names, batch_size)
        parts = [activations.activations(self, rows, names, batch_size) for rows in self._batches(images)]
        return {name: np.concatenate([part[name] for part in parts]) for name in names}

    def _batches(self, images: Any) -> Iterator[np.ndarray]:
        """Yield the images by batches, uint8 (B, S, S, C)."""
        squares = self._squares(images)
        while batch := list(islice(squares, self.config.evaluate.batch_size)):
            yield np.stack(batch)

    def _squares(self, images: Any) -> Iterator[np.ndarray]:
        """Yield each image as uint8 (S, S, C), decoded on threads, a batch before they are asked for."""
        items = _as_list(images)
        how = pixels.Preprocessing.of(self.config.data)

        def square(image: AnyImage) -> np.ndarray:
            if isinstance(image, str | Path):
                try:
                    return pixels.resize_center_crop(pixels.read_file(Path(image).expanduser()), how)
                except IsADirectoryError:
                    files = "sorted(pathlib.Path(folder).glob('*.jpg'))"
                    raise pixels.BadImage(f"{image}: a folder; give its files, such as {files}") from None
                except (pixels.BadImage, OSError) as error:
                    raise pixels.BadImage(f"{image}: {getattr(error, 'strerror', None) or error}") from None
            return pixels.resize_center_crop_decoded(image, how)

        pool = ThreadPoolExecutor(runtime.cores())
        try:
            decoded = (pool.submit(square, item) for item in items)
            for future in ahead(decoded, self.config.evaluate.batch_size):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: arrays of the host instead of the devices'."""
        state = {field.name: getattr(self, field.name) for field in fields(self)}
        state |= {"params": jax.device_get(self.params), "mean": jax.device_get(self.mean), "mesh": None}
        return state | {"config": self.config.to_dict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Place the net on the devices at hand."""
        config, net = resolve.freeze(ConfigDict(state["config"])), state["architecture"]
        mesh = trained.mesh_at_hand(config, net)
        params = jax.device_put(state["params"], sharding.param_shardings(net, mesh))
        placed = {"config": config, "mesh": mesh, "params": params}
        placed["mean"] = sharding.replicate(state["mean"], mesh)
        for name, value in (state | placed).items():
            object.__setattr__(self, name, value)


def _as_net(net: trained.TrainedNet) -> Net:
    return Net(**{field.name: getattr(net, field.name) for field in fields(net)})


def _as_list(images: Any) -> list[AnyImage]:
    """Return one image or several as a list.

    Raises:
      WrongTypeError: what cannot be images. UsageError: none.
    """
    if isinstance(images, str | Path | Image.Image):
        return [images]
    if hasattr(images, "dtype") and hasattr(images, "ndim"):
        array = np.asarray(images)
        if array.ndim not in (2, 3, 4):
            raise UsageError(f"images are uint8 (N, H, W, C), or one (H, W, C) or (H, W), not {array.shape}")
        images = array if array.ndim == 4 else [array]
    try:
        items = list(images)
    except TypeError:
        raise WrongTypeError(
            f"images are paths, arrays or images of Pillow, not {type(images).__name__}"
        ) from None
    if not items:
        raise UsageError("no image was given")
    return [np.asarray(item) if hasattr(item, "dtype") else item for item in items]
