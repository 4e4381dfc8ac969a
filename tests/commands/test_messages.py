"""Wrong uses: the exact line and exit code of each. None shows a traceback, `--debug` shows it."""

import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from alexnet_jax import runtime
from alexnet_jax.config import find
from alexnet_jax.training import loop
from tests.commands.helpers import call
from tests.helpers import epochs, small_digits

TRAIN = "train --config=configs/digits.py --config.data.dir={data} --config.mesh.model=1 --workdir={new}"
# fmt: off
# (arguments, exit code, the line after "alexnet_jax: "); {paths} are made by the fixture below.
WRONG: list[tuple[str, int, str]] = [
    ("", 2, "type a verb, such as: python -m alexnet_jax.main train --config=configs/digits.py --source=digits; python -m alexnet_jax.main --help lists them all"),
    ("--debug=false", 2, "train needs --config=configs/X.py"),
    ("predict --workdir={run} --source={tmp}", 2, "predict does not read --source, which is for train, prepare, evaluate, similar, doctor, benchmark input, benchmark features, benchmark similar"),
    ("fly --config=configs/digits.py", 2, "'fly' is not a verb; there are train, prepare, evaluate, predict, features, similar, compare, convert, export, doctor, report, benchmark"),
    ("train --config=configs/nothing.py", 2, "--config=configs/nothing.py is not a config file, nor the name of one that comes along: {configs}"),
    ("train --config=README.md", 2, "--config=README.md is not a config file, nor the name of one that comes along: {configs}"),
    ("train --config={tmp}/broken.py", 2, "--config={tmp}/broken.py: division by zero"),
    ("train --config=configs/digits.py --config.data.colour=red", 2, "config.data.colour is not a key of this config"),
    ("train --config=configs/digits.py --config.train.epoch=3", 2, "config.train.epoch is not a key of this config; did you mean epochs?"),
    ("train --config=configs/digits.py --config.train.epochs=many", 2, "flag --config.train.epochs=many: could not convert string to float: 'many'"),
    ("train --config=configs/digits.py --config.train.epochs=-1", 2, "config.train.epochs=-1.0: it must be a number above 0, at most 1000000000"),
    ("train --config=configs/digits.py --config.train.epochs=nan", 2, "config.train.epochs=nan: it must be a number above 0, at most 1000000000"),
    ("train --config=configs/digits.py --config.seed=-1", 2, "config.seed=-1: it must be a whole number from 0 to 4294967295"),
    ("train --config=configs/digits.py --config.data.crop=100", 2, "config.data.crop=100 is larger than the prepared images, config.data.size=72"),
    ("train --config.data.crop=100 --config configs/digits.py", 2, "config.data.crop=100 is larger than the prepared images, config.data.size=72"),
    ("train --config=configs/digits.py --config.data.batch_size=0", 2, "config.data.batch_size=0: it must be a whole number from 1 to 131072"),
    ("train --config=configs/digits.py --config.data.mean=median", 2, "config.data.mean='median': it must be one of 'centre', 'crop', 'rgb', 'none'"),
    ("train --config=configs/digits.py --config.data.channels=3 --config.data.lighting=0.1 --config.data.name=No-Name", 2, "config.data.name='No-Name': it must be a name of lower-case letters, digits and _, of at most 100, or '' for the source's"),
    ("train --config=configs/digits.py --config.data.lighting=0.1", 2, "config.data.lighting needs three channels: set config.data.lighting=0.0"),
    ("train --config=configs/digits.py --config.data.crop_sharing=7", 2, "config.data.batch_size=64 is not a multiple of config.data.crop_sharing=7"),
    ("train --config=configs/digits.py --config.schedule.kind=constant", 2, "config.schedule.kind='constant' with config.schedule.steps=((24, 0.001),): 'steps' needs some, and no other kind has any"),
    ("train --config=configs/imagenet.py --config.schedule.kind=steps", 2, "config.schedule.kind='steps' with config.schedule.steps=(): 'steps' needs some, and no other kind has any"),
    ("train --config=configs/digits.py --config.model.architecture=resnet", 2, "config.model.architecture='resnet': there are alexnet_2012, alexnet_2012_source, source_132, source_145_half, source_146, source_147, source_148, source_150, caffe, caffenet, torchvision, cifar10_26, cifar10_19, cifar10_18, cifar10_13, cifar10_11, fully_connected"),
    ("train --config=configs/digits.py --config.model.width=0.0", 2, "config.model.width=0.0: it must be a number above 0, at most 8"),
    ("train --config=configs/digits.py --config.model.dropout=1.5", 2, "config.model.dropout=1.5: it must be a number from 0 to below 1"),
    ("train --config=configs/digits.py --config.model.activation=gelu", 2, "config.model.activation='gelu': it must be 'relu', 'tanh' or 'sigmoid'"),
    ("train --config=configs/digits.py --config.model.compute_dtype=float64", 2, "config.model.compute_dtype='float64' needs JAX_ENABLE_X64=1 in the environment"),
    ("train --config=configs/digits.py --config.data.crop=8", 2, "config.data.crop=8 is too small for this net: nothing is left at pool1"),
    ("train --config=configs/digits.py --nonsense", 2, "train has no flag --nonsense; python -m alexnet_jax.main train --help lists its flags"),
    ("--sourc=digits", 2, "train has no flag --sourc; did you mean --source? python -m alexnet_jax.main train --help lists its flags"),
    ("predict --workdir=pretrained:none --viws=10 a.jpg", 2, "predict has no flag --viws; did you mean --views? python -m alexnet_jax.main predict --help lists its flags"),
    ("report --workdir={run} --explor", 2, "report has no flag --explor; did you mean --explore? python -m alexnet_jax.main report --help lists its flags"),
    ("benchmark step --per=torch", 2, "benchmark step has no flag --per; did you mean --peer? python -m alexnet_jax.main benchmark step --help lists its flags"),
    ("train --confg.data.crop=24", 2, "train has no flag --confg.data.crop; did you mean --config.data.crop? python -m alexnet_jax.main train --help lists its flags"),
    ("train --learning_rate=0.1", 2, "train has no flag --learning_rate; did you mean --config.schedule.learning_rate? python -m alexnet_jax.main train --help lists its flags"),
    ("convert --learning_rate=0.1", 2, "convert has no flag --learning_rate; python -m alexnet_jax.main convert --help lists its flags"),
    ("train --data=photos", 2, "train has no flag --data; python -m alexnet_jax.main train --help lists its flags"),
    ("train --config=configs/digits.py --profile=-1", 2, "flag --profile=-1: -1 is not a non-negative integer"),
    ("train --config=configs/imagenet.py --workdir={new}", 2, "/nowhere/imagenet2012_256/1.0.0 is not prepared; type: python -m alexnet_jax.main prepare --source=<folder, archive, or digits>, with the same --config flags or --workdir"),
    ("--config=configs/imagenet.py --workdir={new}", 2, "/nowhere/imagenet2012_256/1.0.0 is not prepared; type: python -m alexnet_jax.main prepare --source=<folder, archive, or digits>, with the same --config flags or --workdir"),
    ("train --config=configs/digits.py --merge", 2, "train reads --merge only with --source"),
    (TRAIN + " --config.mesh.data=64", 2, "config.mesh asks for 64 x 1 = 64 devices and there are 4; on a CPU, XLA_FLAGS=--xla_force_host_platform_device_count=64 simulates them"),
    (TRAIN + " --config.mesh.data=3", 2, "a batch of 64 images does not divide over config.mesh.data=3"),
    (TRAIN + " --config.mesh.model=2 --config.model.towers=1", 2, "config.mesh.model=2: this net has 1 tower, set config.mesh.model=1"),
    (TRAIN + " --config.model.classes=9", 2, "{data}/digits_72/1.0.0 has 10 classes and the net 9: set --config.model.classes=10"),
    (TRAIN + " --config.data.batch_size=1400", 2, "config.data.batch_size=1400 is more than the 1350 images of 'train[:90%]'; make it smaller, and config.schedule.learning_rate with it"),
    (TRAIN + " --config.data.train_split=rain", 2, "split 'rain' of {data}/digits_72/1.0.0: Unknown split 'rain'. Should be one of ['test', 'train']. (there are: test, train)"),
    (TRAIN + " --config.data.train_split=train[:0%]", 2, "split 'train[:0%]' of {data}/digits_72/1.0.0 holds no images (there are: 297 test, 1,500 train); with few images say --config.data.train_split='train[:50%]' --config.data.validation_split='train[50%:]'"),
    (TRAIN + " --config.data.format=jpeg", 2, "{data}/digits_72/1.0.0 was prepared with format='raw' and config.data.format is 'jpeg': change the key, or prepare under another config.data.name"),
    (TRAIN + " --config.data.quality=50 --config.data.size=80", 2, "{data}/digits_80/1.0.0 is not prepared; type: python -m alexnet_jax.main prepare --source=<folder, archive, or digits>, with the same --config flags or --workdir"),
    (TRAIN + " --config.train.init_from={tmp}/empty", 2, "config.train.init_from='{tmp}/empty' is not the workdir of a trained net; weights become one by: python -m alexnet_jax.main convert torchvision --output=runs/torchvision, or convert FILE --output=DIR"),
    (TRAIN + " --config.train.init_from={tmp}/damaged", 2, "checkpoint 2 of config.train.init_from is damaged: {tmp}/damaged/checkpoints/2/state/a is not as it was written"),
    ("train --config=configs/digits.py --config.data.dir={data} --config.mesh.model=1 --workdir={run}", 2, "{run} holds a run with config.data.batch_size=32, not 64: use the old value, or another --workdir"),
    ("train --config=configs/digits.py --config.data.dir={data} --config.mesh.model=1 --workdir={tmp}/text.txt", 2, "the workdir {tmp}/text.txt cannot be written: File exists"),
    ("train --config=configs/digits.py --workdir=a --workdir=b", 2, "train takes one --workdir, not 2"),
    ("train --workdir={run} --config.optimizer.momentum=0.5", 2, "{run} holds a run with config.optimizer.momentum=0.9, not 0.5: use the old value, or another --workdir"),
    ("evaluate", 2, "evaluate needs --workdir=DIR of a trained net or --workdir=pretrained:NAME"),
    ("evaluate --workdir=nowhere", 2, "nowhere/config.json does not exist: nowhere is not the workdir of a run"),
    ("evaluate --workdir={tmp}/empty", 2, "{tmp}/empty/config.json does not exist: {tmp}/empty is not the workdir of a run"),
    ("evaluate --workdir={tmp}/cut", 2, "{tmp}/cut/config.json cannot be read as a run's config: Expecting property name enclosed in double quotes: line 1 column 13 (char 12)"),
    ("evaluate --workdir={tmp}/list", 2, "{tmp}/list/config.json cannot be read as a run's config: it holds no table of keys"),
    ("evaluate --workdir={tmp}/other", 2, "config.data is missing; configs/imagenet.py shows it"),
    ("evaluate --workdir={tmp}/bare", 2, "{tmp}/bare/checkpoints holds no complete checkpoint: train first"),
    ("evaluate --workdir={tmp}/damaged", 1, "checkpoint 2 is damaged: {tmp}/damaged/checkpoints/2/state/a is not as it was written; choose another with --checkpoint"),
    ("evaluate --workdir={tmp}/statistics", 2, "the statistics {tmp}/statistics/statistics.npz cannot be read: it is not an .npz file"),
    ("evaluate --workdir={run} --views=3", 2, "--views=3: it must be 1 or 10"),
    ("evaluate --workdir={run} --checkpoint=7", 2, "--checkpoint=7: {run}/checkpoints holds 2; or say last or best"),
    ("evaluate --workdir={run} --config.model.classes=12", 2, "{run}/checkpoints/2/state: params/fc8/bias is (10,), and this config needs (12,)"),
    ("evaluate --workdir={run} --source=nowhere", 2, "--source=nowhere does not exist"),
    ("evaluate --workdir={run} --source={tmp}/one", 2, "{tmp}/one has classes that the net in {run} does not know, ant; it knows 0, 1, 2, 3, 4 and 5 more: --class_map=FILE says which is which, a line each: the dataset's name, a tab, the net's name"),
    ("evaluate --workdir={run} --source=digits --split=val", 2, "digits has no split 'val'; it has test, train"),
    ("evaluate --workdir={run} --class_map={tmp}/none", 2, "--class_map={tmp}/none cannot be read: [Errno 2] No such file or directory: '{tmp}/none'"),
    ("evaluate --workdir={run} --predictions={tmp}", 2, "--predictions={tmp} is a folder: name a file"),
    ("report --explore --workdir={run} --output={tmp}/none/a.html", 2, "--output={tmp}/none/a.html: the folder {tmp}/none does not exist"),
    ("report --explore --workdir={run} --output={tmp}/empty", 1, "{tmp}/empty cannot be written: Is a directory"),
    ("evaluate --workdir={run} --predictions={tmp}/none/a.csv", 2, "--predictions={tmp}/none/a.csv: the folder {tmp}/none does not exist"),
    ("predict --workdir={run} --class_map={tmp}/none", 2, "predict does not read --class_map, which is for evaluate, report"),
    ("predict --workdir={run}", 2, "predict needs images: files, folders or patterns such as 'photos/*.jpg'"),
    ("predict --workdir={run} {tmp}/nothing.jpg", 2, "{tmp}/nothing.jpg does not exist, or matches no image"),
    ("predict --workdir={run} {tmp}/empty", 2, "the folder {tmp}/empty holds no images"),
    ("predict --workdir={run} --output={tmp}/a.gif {tmp}/image.png", 2, "--output={tmp}/a.gif: the name of a figure ends in .png or .svg"),
    ("predict --workdir={run} --output={tmp}/none/a.png {tmp}/image.png", 2, "--output={tmp}/none/a.png: the folder {tmp}/none does not exist"),
    ("features --workdir={run} {tmp}/image.png", 2, "features needs --output=X.npz, or --output=FOLDER for one .npy a layer"),
    ("features --workdir={run} --output={tmp}/x.npz --layers=conv9 {tmp}/image.png", 2, "layers: 'conv9' is not a layer of this net; it has conv1, relu1, norm1, pool1, conv2, relu2, norm2, pool2, conv3, relu3, conv4, relu4, conv5, relu5, pool5, fc6, relu6, drop6, fc7, relu7, drop7, fc8, prob"),
    ("features --workdir={run} --output={tmp}/x.csv {tmp}/image.png", 2, "--output={tmp}/x.csv: the name of an .npz, or of a folder (with / at its end)"),
    ("features --workdir={run}", 2, "features needs images: files, folders or patterns such as 'photos/*.jpg'"),
    ("compare --workdir={run} {tmp}/image.png", 2, "compare needs two images, and 1 were given: compare A.png B.png"),
    ("compare --workdir={run} {tmp}/image.png {tmp}/nothing.png", 2, "{tmp}/nothing.png is not a file: compare takes two images"),
    ("compare --workdir={run} {tmp}/image.png {tmp}/image.png", 2, "{run} holds no LPIPS heads (lpips.npz): convert weights that have lpips/lin0 to lin4"),
    ("similar --workdir={run} {tmp}/image.png", 2, "similar needs --source=FOLDER, whose images it searches"),
    ("similar --workdir={run} --source={tmp}/one", 2, "similar needs one image, or --label=NAME and no image"),
    ("report --workdir=nowhere", 2, "nowhere/config.json does not exist: nowhere is not the workdir of a run"),
    ("report --explore --workdir={run} --checkpoint=banana", 2, "--checkpoint=banana: {run}/checkpoints holds 2; or say last or best"),
    ("report --explore --workdir={run} --workdir={run}", 2, "report --explore takes one --workdir, not 2"),
    ("export --workdir={run} --output=", 2, "--output=.: it must name a file in a folder that exists"),
    ("export --workdir={run} --output={tmp}/none/a.bin", 2, "--output={tmp}/none/a.bin: it must name a file in a folder that exists"),
    ("convert", 2, "type convert FILE --output=DIR for a new workdir, or convert DIR --output=FILE for a file .safetensors or .npz of the workdir DIR"),
    ("convert {tmp}/weights.pth --output={new} --checkpoint=last", 2, "convert does not read --checkpoint when a file is converted"),
    ("convert {run} --output={tmp}/a.npz --mean={tmp}/a.npy", 2, "convert does not read --mean when a workdir is converted"),
    ("convert {tmp}/weights.pth --output={run}", 2, "--output={run} exists already: name a new folder"),
    ("convert {run} --output={tmp}/a.onnx", 2, "--output={tmp}/a.onnx: name a file that ends in .safetensors or .npz"),
    ("prepare --config=configs/digits.py --config.data.dir={new}", 2, "--source is missing: a folder of class folders, an archive of one (.tar, .tar.gz, .tar.xz, .zip), a folder with ImageNet's tars, a table of files and labels (.csv, .tsv), a dataset that TFDS prepared, a folder with IDX files, or the word digits"),
    ("prepare --config=configs/digits.py --config.data.dir={new} --source=nowhere", 2, "--source=nowhere does not exist"),
    ("prepare --config=configs/digits.py --config.data.dir={new} --source={tmp}/empty", 2, "--source={tmp}/empty holds no images; it may be a folder of class folders, an archive of one (.tar, .tar.gz, .tar.xz, .zip), a folder with ImageNet's tars, a table of files and labels (.csv, .tsv), a dataset that TFDS prepared, a folder with IDX files, or the word digits"),
    ("prepare --config=configs/digits.py --config.data.dir={new} --source={tmp}/text.txt", 2, "--source={tmp}/text.txt is not a folder nor one of .tar, .zip, .tar.gz, .tgz, .tar.xz, .tar.bz2"),
    ("prepare --config=configs/digits.py --config.data.dir={new} --source={tmp}/flat", 2, "1.png in {tmp}/flat lies in no class folder: make a folder for each class, or a .csv of files and labels"),
    ("prepare --config=configs/digits.py --config.data.dir={new} --source={tmp}/one", 2, "the source has one class, 'ant': a net needs two or more"),
    ("prepare --config=configs/digits.py --config.data.dir={new} --source={tmp}/archive.tar", 2, "{tmp}/archive.tar cannot be read as a tar archive: damaged at byte 0"),
    ("prepare --config=configs/digits.py --config.data.dir={new} --source={tmp}/archive.zip", 2, "--source={tmp}/archive.zip cannot be read as a zip archive: it has no directory; it may be cut off"),
    ("prepare --config=configs/digits.py --config.data.dir={new} --source={tmp}/mnist", 2, "{tmp}/mnist/train-images-idx3-ubyte cannot be read as an IDX file: unpack requires a buffer of 12 bytes"),
    ("prepare --config=configs/digits.py --config.data.dir={new} --source=digits --part=4/4", 2, "--part=4/4: write i/n with i from 0 to n - 1, such as 0/4"),
    ("prepare --config=configs/digits.py --config.data.dir={new} --merge", 2, "{new}/digits_72/.1.0.0.partial holds no parts: make them with prepare --part=i/n"),
    ("benchmark fly --config=configs/digits.py", 2, "type benchmark input, step, loop, start, exchange, features or similar"),
    ("benchmark step --config=configs/digits.py --peer=cuda", 2, "--peer=cuda: benchmark step compares with torch, flax"),
]
# fmt: on


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory, digits_folder: str) -> dict[str, str]:
    """Folders and files that wrong uses name."""
    folder = tmp_path_factory.mktemp("w")
    config = small_digits(digits_folder)
    config.mesh.model = 1
    config.train.epochs = epochs(2)
    assert loop.train(config, folder / "run") == 0
    shutil.copytree(folder / "run", folder / "damaged")
    state = folder / "damaged/checkpoints/2/state"
    victim = max((p for p in state.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    victim.rename(state / "a")
    for path in list(state.iterdir()):
        if path.name != "a":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    manifest = folder / "damaged/checkpoints/2/manifest.json"
    content = json.loads(manifest.read_text())
    content["files"] = {"state/a": [1, "0"]}
    manifest.write_text(json.dumps(content, indent=1))  # as the product writes it
    shutil.copytree(folder / "run", folder / "bare")
    shutil.rmtree(folder / "bare/checkpoints")
    for name, text in (("cut", '{"config": {'), ("list", "[]"), ("other", '{"config": {"seed": 1}}')):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(text)
    shutil.copytree(folder / "run", folder / "statistics")
    (folder / "statistics/statistics.npz").write_bytes(b"PK")
    (folder / "empty").mkdir()
    (folder / "text.txt").write_text("text")
    (folder / "broken.py").write_text("def get_config():\n    return 1 / 0\n")
    (folder / "weights.pth").write_bytes(b"\x80\x04cos\nsystem\n.")
    (folder / "names.txt").write_text("one\ntwo\n")
    Image.new("L", (80, 80), 99).save(folder / "image.png")
    (folder / "one/train/ant").mkdir(parents=True)
    Image.new("L", (80, 80), 99).save(folder / "one/train/ant/1.png")
    (folder / "flat").mkdir()
    Image.new("L", (80, 80), 99).save(folder / "flat/1.png")
    (folder / "archive.tar").write_bytes(b"not a tar" * 200)
    (folder / "archive.zip").write_bytes(b"not a zip")
    (folder / "mnist").mkdir()
    (folder / "mnist/train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03\0\0\0\x09")
    (folder / "mnist/train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\0")
    return {
        "tmp": str(folder),
        "data": digits_folder,
        "run": str(folder / "run"),
        "new": str(folder / "new"),
        "configs": ", ".join(find.config_files()),
    }


@pytest.fixture(autouse=True)
def _neutral_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(runtime, "retain_malloc_heap", lambda: False)
    monkeypatch.setenv("TFDS_DATA_DIR", "/nowhere")
    monkeypatch.delenv("JAX_ENABLE_X64", raising=False)


@pytest.mark.parametrize(("arguments", "code", "message"), WRONG, ids=[row[0][:60] for row in WRONG])
def test_wrong_uses(
    arguments: str, code: int, message: str, paths: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    filled = [word.format(**paths) for word in arguments.split()]
    returned = call(filled)
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("alexnet_jax: ")]
    assert lines == ["alexnet_jax: " + message.format(**paths)]
    assert returned == code
    assert not os.path.exists(paths["new"] + "/config.json")


def test_the_table_is_long_enough() -> None:
    assert len({message for _, _, message in WRONG}) >= 40


def test_debug_shows_the_traceback(paths: dict[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["evaluate", f"--workdir={paths['tmp']}/bare"]
    assert call(arguments) == 2
    assert "Traceback" not in capfd.readouterr().err
    assert call([*arguments, "--debug"]) == 2
    errors = capfd.readouterr().err
    assert "Traceback (most recent call last)" in errors
    assert errors.splitlines()[-1].startswith("alexnet_jax: ")


@pytest.mark.parametrize("code", [0, 143])
def test_a_run_that_is_done_says_what_to_type_next(
    code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alexnet_jax.training.loop.train", lambda *_: code)
    monkeypatch.setattr("alexnet_jax.program.next_command", lambda: "alexnet-jax")
    assert call(["train", "--config=digits", f"--workdir={tmp_path}"]) == code
    lines = [
        f"next: alexnet-jax evaluate --workdir={tmp_path}",
        "  which tells the errors of each class, what is taken for what, and the files of the mistakes",
    ]
    assert capsys.readouterr().out.splitlines() == ([] if code else lines)
