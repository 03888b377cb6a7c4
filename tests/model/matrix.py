"""Every kind of model that layerscope must read, small, with the maps it must find.

A case builds a model and an input. ``taps`` is the number of convolution rows, and ``expected``,
where given, computes some maps eagerly, layer by layer, without layerscope.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import tensorflow as tf
from keras import layers as L

Arrays = list[np.ndarray]


@dataclass
class Case:
    name: str
    build: Callable[[], keras.Model]
    taps: int
    inputs: tuple[tuple[int, ...], ...] = ((16, 16, 3),)
    kinds: str = "conv"
    expected: Callable[[keras.Model, Arrays], dict[str, np.ndarray]] | None = None
    batch: int = 2

    def __str__(self) -> str:
        return self.name


CASES: dict[str, Case] = {}


def case(taps: int, **options: object) -> Callable:
    def register(build: Callable[[], keras.Model]) -> Callable[[], keras.Model]:
        name = build.__name__
        CASES[name] = Case(name, build, taps, **options)  # type: ignore[arg-type]
        return build

    return register


def head(x):
    return L.Dense(4, name="head")(L.GlobalAveragePooling2D()(x))


@case(2)
def functional():
    i = keras.Input((16, 16, 3))
    x = L.Conv2D(6, 3, name="a", padding="same")(i)
    x = L.ReLU(name="a_relu")(L.BatchNormalization(name="a_bn")(x))
    x = L.Conv2D(5, 3, name="b", activation="gelu")(x)
    return keras.Model(i, head(x), name="functional")


@case(2)
def sequential():
    return keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            L.Conv2D(6, 3, activation="relu"),
            L.MaxPooling2D(),
            L.Conv2D(5, 3, activation="swish"),
            L.Flatten(),
            L.Dense(3),
        ]
    )


@case(2)
def sequential_without_input():
    model = keras.Sequential(
        [L.Conv2D(6, 3), L.ReLU(), L.Conv2D(5, 3, activation="tanh"), L.Flatten(), L.Dense(3)]
    )
    model(np.zeros((1, 16, 16, 3), "float32"))
    return model


def _nested_maps(model, x):
    backbone, stem = model.get_layer("backbone"), model.get_layer("backbone").get_layer("stem")
    first = stem(x[0])
    top = model.get_layer("top_conv")
    return {
        "backbone/stem/inner_conv": first,
        "backbone/mid_conv": backbone(x[0], training=False),
        "top_conv": top(backbone(x[0], training=False)),
    }


@case(3, expected=_nested_maps)
def nested():
    i = keras.Input((16, 16, 3))
    x = L.Conv2D(4, 3, name="inner_conv")(i)
    stem = keras.Model(i, L.ReLU()(x), name="stem")
    j = keras.Input((16, 16, 3))
    y = L.Conv2D(5, 3, name="mid_conv")(stem(j))
    backbone = keras.Model(j, L.Activation("relu")(L.BatchNormalization()(y)), name="backbone")
    k = keras.Input((16, 16, 3))
    z = L.Conv2D(6, 1, name="top_conv", activation="relu")(backbone(k, training=False))
    return keras.Model(k, head(z), name="nested")


class SubclassedLayers(keras.Model):
    def __init__(self, normalised=True):
        super().__init__(name="subclassed")
        self.one, self.act = L.Conv2D(6, 3, name="one"), L.ReLU()
        self.bn = L.BatchNormalization() if normalised else None
        self.two = L.Conv2D(5, 3, name="two", activation="relu")
        self.pool, self.out = L.GlobalAveragePooling2D(), L.Dense(3)

    def call(self, x):
        return self.out(self.pool(self.two(self.act(self.bn(self.one(x))))))


def called(model, *shapes):
    model(*[np.zeros((1, *shape), "float32") for shape in shapes or [(16, 16, 3)]])
    return model


def _subclassed_maps(model, x):
    one = model.act(model.bn(model.one(x[0]), training=False))
    return {"one": one, "two": model.two(one)}


@case(2, expected=_subclassed_maps)
def subclassed():
    return called(SubclassedLayers())


class SubclassedTf(SubclassedLayers):
    def call(self, x):
        return self.out(self.pool(tf.nn.silu(self.two(tf.nn.relu(self.one(x)) * 2.0))))


def _subclassed_tf_maps(model, x):
    one = tf.nn.relu(model.one(x[0])) * 2.0
    return {"one": one, "two": tf.nn.silu(model.two(one))}


@case(2, expected=_subclassed_tf_maps)
def subclassed_tf_calls():
    return called(SubclassedTf(normalised=False))


class SubclassedOps(SubclassedLayers):
    def call(self, x):
        y = keras.ops.gelu(self.one(x))
        return self.out(self.pool(keras.ops.hard_swish(self.bn(self.two(y)))))


def _subclassed_ops_maps(model, x):
    one = keras.ops.gelu(model.one(x[0]))
    return {"one": one, "two": keras.ops.hard_swish(model.bn(model.two(one), training=False))}


@case(2, expected=_subclassed_ops_maps)
def subclassed_keras_ops():
    return called(SubclassedOps())


class Block(L.Layer):
    def __init__(self, filters):
        super().__init__(name="block")
        self.conv = L.Conv2D(filters, 3, padding="same", name="conv")

    def call(self, x):
        return tf.nn.relu(self.conv(x)) + x


class ListOfBlocks(keras.Model):
    def __init__(self):
        super().__init__(name="listed")
        self.stem = L.Conv2D(4, 3, name="stem")
        self.blocks = [Block(4) for _ in range(3)]
        self.pool, self.out = L.GlobalAveragePooling2D(), L.Dense(3)

    def call(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.out(self.pool(x))


def _listed_maps(model, x):
    y = model.stem(x[0])
    found = {"stem": y}
    for i, block in enumerate(model.blocks, 1):
        path = "block" if i == 1 else f"block@{i}"
        found[f"{path}/conv"] = tf.nn.relu(block.conv(y))
        y = block(y)
        found[f"{path}/add"] = y
    return found


@case(4, expected=_listed_maps)
def list_of_blocks_with_one_name():
    return called(ListOfBlocks())


class Decorated(SubclassedLayers):
    @tf.function
    def call(self, x):
        return self.out(self.pool(self.two(tf.nn.relu(self.one(x)))))


def _decorated_maps(model, x):
    one = tf.nn.relu(model.one(x[0]))
    return {"one": one, "two": model.two(one)}


@case(2, expected=_decorated_maps)
def tf_function_on_call():
    return called(Decorated(normalised=False))


@case(1, inputs=((16, 16, 3), (7,)))
def image_and_vector():
    i, v = keras.Input((16, 16, 3)), keras.Input((7,))
    x = L.GlobalAveragePooling2D()(L.Conv2D(6, 3, activation="relu")(i))
    return keras.Model([i, v], L.Dense(2)(L.Concatenate()([x, L.Dense(4)(v)])))


@case(2, inputs=((16, 16, 3), (12, 12, 1)))
def two_images():
    i, j = keras.Input((16, 16, 3), name="left"), keras.Input((12, 12, 1), name="right")
    x = L.GlobalAveragePooling2D()(L.Conv2D(6, 3, activation="relu")(i))
    y = L.GlobalAveragePooling2D()(L.Conv2D(5, 3, activation="relu")(j))
    return keras.Model({"left": i, "right": j}, L.Dense(2)(L.Concatenate()([x, y])))


class TwoArguments(keras.Model):
    def __init__(self):
        super().__init__(name="two_arguments")
        self.conv, self.dense = L.Conv2D(4, 3, name="conv", activation="relu"), L.Dense(4)
        self.pool, self.out = L.GlobalAveragePooling2D(), L.Dense(2)

    def call(self, image, vector):
        return self.out(self.pool(self.conv(image)) + self.dense(vector))


@case(1, inputs=((16, 16, 3), (7,)), expected=lambda model, x: {"conv": model.conv(x[0])})
def call_with_two_arguments():
    return called(TwoArguments(), (16, 16, 3), (7,))


@case(3)
def multi_output():
    i = keras.Input((16, 16, 3))
    x = L.Conv2D(6, 3, activation="relu")(i)
    a = L.Dense(3, name="label")(L.GlobalAveragePooling2D()(L.Conv2D(5, 3)(x)))
    return keras.Model(i, {"label": a, "mask": L.Conv2D(1, 1, activation="sigmoid")(x)})


def _shared_maps(model, x):
    first = model.get_layer("first")(x[0])
    once = model.get_layer("shared")(first)
    return {"first": first, "shared": once, "shared@2": model.get_layer("shared")(once)}


@case(3, expected=_shared_maps)
def shared_layer():
    i = keras.Input((16, 16, 3))
    shared = L.Conv2D(4, 3, padding="same", name="shared", activation="relu")
    x = shared(L.Conv2D(4, 1, name="first")(i))
    return keras.Model(i, head(shared(x)))


def _reloaded(suffix: str) -> keras.Model:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"model{suffix}"
        functional().save(path)
        return keras.saving.load_model(path)


@case(2)
def reloaded_keras():
    return _reloaded(".keras")


@case(2)
def reloaded_h5():
    model = functional()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.h5"
        model.save(path)
        return keras.saving.load_model(path, compile=False)


@case(2)
def augmentation_inside():
    i = keras.Input((16, 16, 3))
    x = L.RandomRotation(0.1)(L.RandomFlip()(i))
    x = L.RandomContrast(0.2)(L.Rescaling(1 / 255)(x))
    x = L.Dropout(0.5)(L.Conv2D(6, 3, activation="relu")(x))
    return keras.Model(i, head(L.Conv2D(5, 3, activation="relu")(x)))


@case(3)
def mixed_float16():
    policy = keras.dtype_policies.DTypePolicy("mixed_float16")
    i = keras.Input((16, 16, 3))
    x = L.Conv2D(6, 3, dtype=policy)(i)
    x = L.Activation("relu", dtype=policy)(L.BatchNormalization(dtype=policy)(x))
    x = L.Conv2D(6, 3, dtype=policy, activation="relu", padding="same")(x)
    x = L.SeparableConv2D(4, 3, dtype=policy)(x)
    return keras.Model(i, L.Dense(3, dtype="float32")(L.GlobalMaxPooling2D()(x)))


@case(1, inputs=((16, 16, 1),))
def one_channel():
    i = keras.Input((16, 16, 1))
    return keras.Model(i, head(L.Conv2D(6, 3, activation="relu")(i)))


@case(2, inputs=((18, 14, 3),))
def free_size():
    i = keras.Input((None, None, 3))
    x = L.Conv2D(6, 3, strides=2, activation="relu")(i)
    return keras.Model(i, head(L.Conv2D(5, 3, activation="relu")(L.UpSampling2D()(x))))


@keras.saving.register_keras_serializable("matrix")
class Swish(L.Layer):
    def build(self, shape):
        self.beta = self.add_weight(shape=(), initializer=keras.initializers.Constant(1.5))

    def call(self, x):
        return x * tf.sigmoid(self.beta * x)


@case(2)
def registered_custom_layer():
    i = keras.Input((16, 16, 3))
    x = Swish()(L.Conv2D(6, 3, name="a")(i))
    return keras.Model(i, head(Swish()(L.BatchNormalization()(L.Conv2D(5, 3, name="b")(x)))))


class OwnConvolution(L.Layer):
    def __init__(self, filters, name):
        super().__init__(name=name)
        self.filters = filters

    def build(self, shape):
        self.w = self.add_weight(shape=(3, 3, shape[-1], self.filters), name="w")
        self.b = self.add_weight(shape=(self.filters,), initializer="ones", name="b")

    def call(self, x):
        return tf.nn.conv2d(x, self.w, 1, "SAME") + self.b


@case(2)
def own_convolution():
    i = keras.Input((16, 16, 3))
    x = L.ReLU(name="act")(OwnConvolution(6, "own")(i))
    return keras.Model(i, head(L.ReLU()(OwnConvolution(5, "own_2")(x))))


@case(7)
def kinds_of_convolution():
    i = keras.Input((16, 16, 4))
    x = L.Conv2D(8, 3, groups=2, name="grouped", activation="relu", padding="same")(i)
    x = L.DepthwiseConv2D(3, name="depthwise", activation="relu", padding="same")(x)
    x = L.SeparableConv2D(6, 3, name="separable", activation="relu", padding="same")(x)
    x = L.Conv2D(6, 3, dilation_rate=2, name="dilated", activation="relu", padding="same")(x)
    x = L.Conv2D(6, 3, strides=2, name="strided", activation="relu", padding="same")(x)
    x = L.Conv2DTranspose(4, 4, strides=2, name="transposed", activation="relu", padding="same")(x)
    x = L.Dense(5, name="per_pixel", activation="relu")(x)
    return keras.Model(i, head(x))


CASES["kinds_of_convolution"].inputs = ((16, 16, 4),)


@case(5)
def residual_and_gate():
    i = keras.Input((16, 16, 3))
    x = L.Conv2D(6, 3, padding="same", name="in", activation="relu")(i)
    y = L.Conv2D(6, 3, padding="same", name="second")(x)
    y = L.BatchNormalization()(y)
    s = L.GlobalAveragePooling2D(keepdims=True)(y)
    s = L.Conv2D(2, 1, name="squeeze", activation="relu")(s)
    s = L.Conv2D(6, 1, name="excite", activation="sigmoid")(s)
    y = L.Multiply()([y, s])
    z = L.ReLU(name="block_out")(L.Add(name="add")([x, y]))
    return keras.Model(i, head(L.Conv2D(4, 3, name="last")(z)))


def _application(name: str, taps: int, side: int = 64) -> None:
    def build() -> keras.Model:
        shape = (side, side, 3)
        return getattr(keras.applications, name)(
            weights=None, input_shape=shape, classes=5, classifier_activation=None
        )

    CASES[name] = Case(name, build, taps, ((side, side, 3),))


APPLICATIONS = {
    "MobileNetV2": 52,
    "ResNet50": 53,
    "VGG16": 13,
    "DenseNet121": 120,
    "InceptionV3": 94,
    "EfficientNetV2B0": 91,
    "ConvNeXtTiny": 58,
}
for _name, _taps in APPLICATIONS.items():
    _application(_name, _taps, 75 if _name == "InceptionV3" else 32)
