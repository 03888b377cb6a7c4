"""What makes the images themselves, or the way they were prepared, doubtful."""

from typing import Literal

from layerscope.audit.findings import Finding


def label_mismatch(reason: str, data: Literal["test", "train"] = "test") -> Finding:
    """Return the finding that images with classes have to count as unlabelled.

    Args:
        reason: why, as a sentence; it may hold the names of classes.
        data: ``test`` or ``train``.
    """
    return Finding(
        "label-mismatch",
        f"The classes of the {data} images do not fit the outputs of the model, so that these "
        f"images count as unlabelled. {reason}",
        "Give the names of the outputs in their order with --classes; names of folders and names "
        "of outputs have to agree, or be equal in number.",
        data=data,
    )


def preprocessing_suspect(reason: str) -> Finding:
    """Return the finding that the chosen preprocessing is contradicted by evidence.

    Args:
        reason: the evidence, as a sentence.
    """
    return Finding(
        "preprocessing-suspect",
        f"The chosen preprocessing does not look like that of the training. {reason}",
        "Until this is settled take no other finding for a fact: a wrong preprocessing alone can "
        "make maps noisy and accuracy low. Run again with --preprocess auto, or with the one that "
        "was used in training.",
    )
