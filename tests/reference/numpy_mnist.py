"""A net of one hidden layer of sigmoid units and its training, as numpy has it in twenty lines."""

import numpy as np


class Net:
    """Weights (inputs, units) and biases of both layers, float32, which `train` changes in place."""

    def __init__(self, inputs: int, hidden: int, classes: int, draw: np.random.Generator):
        self.w1, self.w2 = (
            (draw.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)
            for shape in ((inputs, hidden), (hidden, classes))
        )
        self.b1, self.b2 = np.zeros(hidden, np.float32), np.zeros(classes, np.float32)

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return hidden values and probabilities of images (B, inputs)."""
        h = 1 / (1 + np.exp(-(x @ self.w1 + self.b1)))
        z = h @ self.w2 + self.b2
        p = np.exp(z - z.max(axis=1, keepdims=True))
        return h, p / p.sum(axis=1, keepdims=True)

    def train(self, x: np.ndarray, label: np.ndarray, rate: float) -> None:
        """Make one step of gradient descent on the mean cross-entropy of a batch."""
        h, d = self.forward(x)
        d[np.arange(len(x)), label] -= 1
        d *= np.float32(1 / len(x))
        back = d @ self.w2.T * h * (1 - h)
        self.w2 -= rate * (h.T @ d)
        self.b2 -= rate * d.sum(axis=0)
        self.w1 -= rate * (x.T @ back)
        self.b1 -= rate * back.sum(axis=0)
