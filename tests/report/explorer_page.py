"""An explorer's page of a net with random weights, and the browser that reads it."""

import base64
import json
import re
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from alexnet_jax.inference import explorer_data
from alexnet_jax.report import explorer
from configs import digits
from tests.inference.helpers import random_net

HOSTILE = (
    "</script><script>window.broken = 1</script>",
    "<img src=x onerror=alert(1)>",
    "\u202eright",
    "",
    "a" * 300,
)
NETS = {
    "alexnet_2012": {
        "activation": "relu",
        "communicate_at": ("conv3", "fc6", "fc7"),
        "without": (),
        "lrn": True,
        "lrn_constants": (2.0, 1e-4, 0.75),
    }
    | {"pool_size": 3, "towers": 2, "width": 0.0625, "dropout": 0.5, "features": (96, 256, 384, 384, 256)},
    "alexnet_2012_source": {"width": 0.0625, "dropout": 0.5},
    "caffe": {"width": 0.0625, "dropout": 0.5},
    "torchvision": {"width": 0.0625, "dropout": 0.5},
    "torchvision, probed": {"width": 0.0625, "dropout": 0.5, "probe": "pool5"},
    "cifar10_26": {"width": 0.5, "activation": "tanh"},
    "cifar10_18": {"width": 1.0, "activation": "relu"},
    "cifar10_11": {"width": 1.0, "activation": "relu", "lrn": True},
    "fully_connected": {"hidden": (15,), "activation": "sigmoid"},
}

LEARNT = ("hidden", "hiddenBias", "output", "outputBias")  # parts of a net of the lesson on learning


def random_run(name, mean="centre", channels=3):
    """A net with weights that leave no layer's values at 0; its class names are hostile."""
    config = digits.get_config()
    size, crop = (32, 24) if name == "cifar10_11" else (72, 64)  # its local layers grow with the image
    config.data.channels, config.data.size, config.data.crop = channels, size, crop
    config.data.mean, config.data.dir = mean, "nowhere"
    config.data.input_std = (60.0, 50.0, 70.0)[:channels]
    config.evaluate.batch_size = 2
    config.mesh.data = config.mesh.model = 1
    architecture = name.partition(",")[0]
    config.model = ConfigDict(
        {"architecture": architecture, "compute_dtype": "float32", "classes": 7, **NETS[name]}
    )
    return random_net(Path("nowhere"), config, HOSTILE)


def write_page(run, path):
    net = explorer_data.explorer_data(run)
    explorer.write(path, net.net, net.arrays, net.images, net.digits, net.sought)
    return net


def close(computed, wanted, tolerance=1e-4):
    assert computed.shape == wanted.shape
    assert np.isfinite(computed).all()
    assert np.abs(computed - wanted).max() <= tolerance * np.abs(wanted).max()


def shown_numbers(text):
    """The numbers of a text of the page."""
    found = re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", text.replace("\u2212", "-"))
    return [float(number) for number in found]


class Page:
    """An explorer in the browser."""

    def __init__(self, browser, path, width=1440, address="", height=900):
        self.browser, self.driver = browser, browser.driver
        browser.console()
        browser.requests()
        self.driver.get("about:blank")  # the same file at another address would not be loaded anew
        browser.open(path, width, height, address)
        self.wait("return Boolean(window.explorer && explorer.net.runs)")

    def wait(self, script):
        WebDriverWait(self.driver, 60, 0.05).until(lambda driver: driver.execute_script(script))

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def text(self, name):
        return self.driver.find_element(By.ID, name).text

    def click(self, name):
        self.run("document.getElementById(arguments[0]).click()", name)

    def drop(self, file, name):
        before = self.run("return explorer.net.runs")
        self.run(
            """const bytes = Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0));
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([bytes], arguments[1]));
            const options = { dataTransfer, bubbles: true, cancelable: true };
            document.body.dispatchEvent(new DragEvent("drop", options));
            """,
            base64.b64encode(file).decode(),
            name,
        )
        self.wait(f"return explorer.net.runs > {before}")

    def array(self, expression, dtype=np.float32):
        """A typed array of the page."""
        text = self.run(
            f"""const array = {expression};
            const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
            let text = "";
            for (let i = 0; i < bytes.length; i += 8192) {{
              text += String.fromCharCode(...bytes.subarray(i, i + 8192));
            }}
            return btoa(text);"""
        )
        return np.frombuffer(base64.b64decode(text), dtype)

    def values(self, name):
        return self.array(f"explorer.net.values[{json.dumps(name)}]")

    def learnt(self, path):
        """A net of the lesson on learning: hidden (units, pixels), output (answers, units), their biases."""
        net = {part: self.array(f"explorer.learning.{path}.{part}", np.float64) for part in LEARNT}
        net["hidden"] = net["hidden"].reshape(len(net["hiddenBias"]), -1)
        net["output"] = net["output"].reshape(len(net["outputBias"]), -1)
        return net

    def quiet(self):
        """Assert that the console is empty and nothing was asked for but the page."""
        assert self.browser.console() == []
        assert [address for address in self.browser.requests() if not address.startswith("file:")] == []
