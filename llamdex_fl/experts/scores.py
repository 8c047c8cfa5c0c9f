"""Scores of probabilities against known outcomes."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

__all__ = ["auc", "one_against_rest"]


def auc(scores_n: NDArray[np.float64], positive_n: NDArray[np.bool_]) -> float:
    """Area under the ROC curve: the share of pairs in the right order (Mann and Whitney), ties counting half."""
    positives = int(positive_n.sum())
    negatives = len(positive_n) - positives
    above = float(rankdata(scores_n)[positive_n].sum()) - positives * (positives + 1) / 2
    return above / (positives * negatives)


def one_against_rest(scores_nC: NDArray[np.float64], truth_n: NDArray[np.int64]) -> float:
    """Mean AUC over the classes that occur; with two classes this is the ordinary AUC."""
    classes = np.unique(truth_n)
    return float(np.mean([auc(scores_nC[:, c], truth_n == c) for c in classes]))
