"""The options of the commands, with the words of their help."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Model = Annotated[str, typer.Argument(metavar="MODEL", help="A .keras or .h5 file.")]
Images = Annotated[
    list[str], typer.Argument(metavar="IMAGE...", help="Image files, or one folder of images.")
]
Preprocess = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="none, 0..1, -1..1, caffe, torch, keras:NAME, mean=127,std=128, or auto.",
    ),
]
Resize = Annotated[
    Literal["stretch", "crop", "letterbox"],
    typer.Option(help="How image files come to the model's size; crop takes the centre."),
]
Classes = Annotated[
    str | None,
    typer.Option(metavar="FILE|imagenet", help="Class names in output order: one a line, or JSON."),
]
Trust = Annotated[
    bool, typer.Option("--trust", help="Allow the model file to run Python code of its own.")
]
CustomObjects = Annotated[
    str | None, typer.Option(metavar="MODULE", help="Python module with the model's own classes.")
]
BatchSize = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Images in one forward pass.")
]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Seed of everything random.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress and no warnings.")]
Layers = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN",
        help="A layer path, a glob, a kind (conv, depthwise, separable, transposed, dense, block, "
        "other) or all; may be given again. Default: conv and block.",
    ),
]
Maps = Annotated[
    str | None,
    typer.Option(
        metavar="K|all",
        help="How many maps of a layer. Default: as few as carry 80 %, 16 at most.",
    ),
]
Scale = Annotated[
    Literal["map", "layer"],
    typer.Option(help="What shares a colour scale: each map alone, or all of a layer."),
]
Output = Annotated[
    Path,
    typer.Option(
        "-o",
        "--output",
        metavar="DIR|FILE.png",
        help="Where pictures go. A name that ends in .html gives the page alone.",
    ),
]
Alpha = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Also lay maps over the photos, with this share of their colour, such as 0.4: of each "
        "layer the map that carries most, or K with --maps K.",
    ),
]
Target = Annotated[
    str | None,
    typer.Option(
        "--class",
        metavar="NAME|INDEX",
        help="The class to explain. Default: the one predicted for each image. Digits are an "
        "index, or a name where a class has it; where they are both, of different classes, write "
        "name:2 or index:2.",
    ),
]
Method = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="grad-cam, grad-cam++, hires-cam, layer-cam, score-cam, ablation-cam, gradient, "
        "gradient-x-input, integrated-gradients, smoothgrad, occlusion, rise.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A parameter of the method, such as steps=128, patch=16 or baseline=mean; may be "
        "given again. A name that is none is answered with those that there are.",
    ),
]
OneLayer = Annotated[
    str | None,
    typer.Option(
        "--layer",
        metavar="NAME",
        help="The layer that a ...-cam method looks at. Default: the last with maps of more than "
        "one pixel.",
    ),
]
NoControls = Annotated[
    bool,
    typer.Option(
        "--no-controls",
        help="Draw no controls beside the heatmaps, and do not test whether they can be believed.",
    ),
]
Laid = Annotated[
    float,
    typer.Option(
        "--alpha", metavar="SHARE", help="Share of the colour of a heatmap over its photo, 0 to 1."
    ),
]
Pasted = Annotated[
    str,
    typer.Argument(
        metavar="IMAGES",
        help="Images to paste onto: a folder, a CSV path,label (or path and a column of 0 and 1 "
        "per class) or an .npz; with one label each for --region.",
    ),
]
MarkFile = Annotated[
    str | None,
    typer.Option(
        metavar="MARK.png",
        help="A picture, pasted at its own pixels onto images as large as the model sees them; "
        "transparency counts.",
    ),
]
At = Annotated[
    str | None,
    typer.Option(
        metavar="X,Y",
        help="Upper left corner of the mark, as fractions 0 to 1 of the image. Default: the mark "
        "is centred.",
    ),
]
Roam = Annotated[bool, typer.Option("--roam", help="The mark goes to a random place each time.")]
RegionOf = Annotated[
    str | None,
    typer.Option(
        metavar="X0,Y0,X1,Y1",
        help="Instead of a mark: this part of the images of --from-class, as fractions 0 to 1.",
    ),
]
FromClass = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|INDEX",
        help="The class that the region comes from; name:2 and index:2 say what digits are.",
    ),
]
Most = Annotated[int, typer.Option(metavar="N", min=1, help="Images that are used at most.")]
Page = Annotated[
    Path, typer.Option("-o", "--output", metavar="DIR|FILE.html", help="Where the page goes.")
]
Test = Annotated[
    str,
    typer.Argument(
        metavar="IMAGES",
        help="A folder with one sub-folder per class, a flat folder, a CSV path,label (or path and "
        "a column of 0 and 1 per class) or an .npz with x and y: images that the model was not "
        "trained on.",
    ),
]
Train = Annotated[str | None, typer.Option(metavar="IMAGES", help="Images that it was trained on.")]
Run = Annotated[Path, typer.Option("-o", "--output", metavar="RUN", help="Directory of the run.")]
Panels = Annotated[
    str | None,
    typer.Option(
        metavar="NAME[,NAME]",
        help="clarity, focus, leakage, memorisation, performance. Default: all.",
    ),
]
FailOn = Annotated[
    str | None,
    typer.Option(
        metavar="WHAT[,WHAT]", help="Kinds of findings, or warn or fail, that give exit code 1."
    ),
]
Expected = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MARK.png|X0,Y0,X1,Y1|colour",
        help="What belongs to a class and is no leak: a pattern, as a picture or by its place in "
        "shares of the image, or a property of whole images; may be given again.",
    ),
]
Budget = Annotated[
    int | None,
    typer.Option(
        metavar="PASSES", min=1, help="Images the search for leaks sends through at most."
    ),
]
Summary = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Also write what it says as Markdown.")
]
Quick = Annotated[
    bool,
    typer.Option(
        "--quick",
        help="Look at 200 images of each set, at no untrained twins, and for no leaks unless "
        "--panels names them. The report says what this cannot tell.",
    ),
]
MaxSkipped = Annotated[
    float,
    typer.Option(
        metavar="SHARE",
        min=0,
        max=1,
        help="Share of unreadable images beyond which the exit code is 3.",
    ),
]
