"""Probabilities, values of layers and errors of a net, in training and afterwards."""
