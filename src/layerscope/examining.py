"""One examination of a model by a set of images: a profile, or an audit."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from layerscope.audit.clarity import CHANNEL_VERDICTS
from layerscope.audit.described import Described
from layerscope.audit.findings import PanelName
from layerscope.audit.focus import Looked, Looks, cases
from layerscope.audit.leakage import Leaks
from layerscope.audit.quick import NO_LEAKS, QUICK, Effort, lost
from layerscope.audit.result import ModelFacts
from layerscope.audit.unused import unused_findings
from layerscope.auditing import Audited, Split, judged
from layerscope.describing import Labelled, describe
from layerscope.effects import unused_late
from layerscope.errors import InputError
from layerscope.feed import Batch
from layerscope.focus.gate import MOST
from layerscope.focusing import controls_of, heat_of, question
from layerscope.images import Preprocessing, Source
from layerscope.images.labels import SEVERAL
from layerscope.images.region import Region
from layerscope.intake import MOST_IMAGES, Images, Intake
from layerscope.leakage.expected import Expected, expected
from layerscope.leaking.footprints import footprints
from layerscope.leaking.scene import scene
from layerscope.leaking.search import search
from layerscope.leaking.splits import repeated
from layerscope.measures.coherence import Encoder, Hog
from layerscope.model.room import batch_size
from layerscope.model.taps import Tap
from layerscope.model.weights import weights_hash
from layerscope.profile import Profile
from layerscope.run.crops import pixels_at
from layerscope.run.evidence import collect
from layerscope.run.local import Progress
from layerscope.run.outputs import Outputs, of_profile, outputs
from layerscope.run.plan import SAMPLE, Plan, planned, stratified
from layerscope.run.profiling import profile
from layerscope.run.subject import forward, subject_of, versions
from layerscope.store.directory import RunDirectory, open_run

NULLS = ("noise", "twin")
FULL = Effort(None, SAMPLE, NULLS, 16, True)


@dataclass(frozen=True)
class Examined:
    """A model and how it is examined; see `layerscope.scope.Scope.audit`.

    Attributes:
        intake: the way of images into the model.
        name: of the model, as the user wrote it.
        seed: of everything random.
        rows: images in one pass; ``None`` for as many as fit comfortably.
        tell: hears how far the work is.
        warn: hears what went otherwise than asked for.
    """

    intake: Intake
    name: str
    seed: int
    rows: int | None
    tell: Callable[[Progress], None] = field(repr=False)
    warn: Callable[[str], None] = field(repr=False)

    def profile(
        self,
        images: Images,
        layers: str | Sequence[str] | None,
        sample: int | None,
        nulls: Sequence[str],
        encoder: Encoder,
        directory: str | Path | None,
    ) -> Profile:
        """Measure every channel, see `layerscope.scope.Scope.profile`."""
        if sample is not None and (not isinstance(sample, int) or sample < 1):
            raise InputError(f"sample is a number of images from 1, or None; got {sample!r}.")
        if unknown := set(nulls) - set(NULLS):
            raise InputError(f"nulls are 'noise' and 'twin'; got {sorted(map(str, unknown))}.")
        self.intake.check_batch_size(self.rows)
        source, steps = self.intake.open(images)
        taps = self.intake.traced.resolve(layers)
        plan = self._plan(source, taps, steps, sample, nulls, encoder.name)
        subject = subject_of(self.intake.traced, taps, steps, self.intake.outputs)
        with self._kept(directory, plan) as run:
            size = self._batch_size(taps)
            return profile(subject, source, plan, run, size, encoder, self.tell, self.warn)

    def audit(
        self,
        images: Images,
        train: Images | None,
        panels: Sequence[PanelName],
        layers: str | Sequence[str] | None,
        directory: str | Path | None,
        budget: int | None = None,
        declared: Sequence[str] = (),
        quick: bool = False,
    ) -> Audited:
        """Judge the model, see `layerscope.scope.Scope.audit`."""
        intake, patterns = self.intake, [expected(words) for words in declared]
        effort = QUICK if quick else FULL
        intake.check_batch_size(self.rows)
        intake.check_classes()
        source, steps, every = self._some(images, effort)
        prepared = intake.preparation(images)
        taps = intake.traced.resolve(layers) if "clarity" in panels else []
        plan = self._plan(source, taps, steps, effort.sample, effort.nulls, Hog().name)
        subject = subject_of(intake.traced, taps, steps, intake.outputs)
        size, tell = self._batch_size(taps), self.tell
        with self._kept(directory, plan) as run:
            found = None
            if taps:
                found = profile(subject, source, plan, run, size, None, tell, self.warn)
                answers = of_profile(found.images, found.predictions, source)
            else:
                answers = outputs(source, subject.compute, size, "answers", tell)
            test = self._judgeable(answers, source)
            trained, learned, beside = None, None, None
            if train is not None:
                trained, learned = self._split(train, effort)
                if "memorisation" in panels:
                    compared = taps or intake.traced.resolve(layers)
                    beside = self._described(compared, learned, (source, steps, test.outputs))
            facts = ModelFacts(self.name, plan.model, intake.model.count_params())
            looks = self._looks(source, steps, test, effort) if "focus" in panels else None
            leaks = Leaks((0, 0), reason=NO_LEAKS) if quick else None
            if "leakage" in panels:
                places = footprints(found, subject.layers.values()) if found is not None else {}
                leaks = self._leaks(source, steps, test, budget, patterns, places)
                leaks = self._across(leaks, source, learned[0] if learned else None)
            result = judged(
                facts, subject.layers, prepared, panels, test, trained, found, plan, looks, leaks,
                beside,
            )  # fmt: skip
            if quick:
                known = "performance" in panels and test.performance.accuracy is not None
                said = lost(test.data.images, every, known, bool(taps), "leakage" in panels)
                result = replace(result, result=replace(result.result, quickly=said))
            if found is not None and result.channels is not None:
                gallery = collect(
                    subject, source, plan, found, result.channels, CHANNEL_VERDICTS, tell
                )
                result = replace(result, gallery=gallery)
            if directory is not None:
                result.write(run)
        return result

    def _some(self, images: Images, effort: Effort) -> tuple[Source, Preprocessing | None, int]:
        """The images to look at, what is done to them, and how many there are in all."""
        source, steps = self.intake.open(images)
        every = source.length
        if effort.images is None:
            return source, steps, every or 0
        if every is None:
            raise InputError(
                "A quick audit looks at some of the images, and a stream has to be read to its "
                "end: leave quick out, or give a folder, a table, an archive or an array."
            )
        if every > effort.images:
            some = source.part(stratified(every, effort.images, source.labels, self.seed))
            source = replace(some, left_out=source.left_out)
        return source, steps, every

    def _looks(
        self, source: Source, steps: Preprocessing | None, test: Split, effort: Effort
    ) -> Looks:
        """Heatmaps of some images, and whether to believe them."""
        read, labels = test.outputs.read, test.outputs.labels
        some = np.flatnonzero(read)
        some = some[np.linspace(0, len(some) - 1, min(MOST, len(some))).round().astype(int)]
        shown = cases(test.predicted, labels, read, effort.shown)
        try:
            asked = question(names=self.intake.classes, seed=self.seed, batch_size=self.rows)
            about = asked.explained(self.intake.traced)
            rows = asked.rows(self.intake.traced, asked.tap(about))
            self.tell(Progress("heatmaps", 0, len(shown)))
            tried, places = self._batch(source, steps, some.tolist())
            photos = [source.photos[at] for at in places] if source.photos else None
            beside = controls_of(
                asked, self.intake, tried.inputs, rows, photos, "twin" in effort.nulls
            )
            batch, places = self._batch(source, steps, shown)
            heat = heat_of(asked, self.intake, batch, rows, beside)
            sought = tried.inputs if effort.unused else []
            channels = unused_late(self.intake, sought, self.rows)
        except InputError as error:
            return Looks(None, str(error))
        self.tell(Progress("heatmaps", len(shown), len(shown)))
        layers = tuple(channels["layer"].unique())
        panel = Looked(beside.gate, heat.method, heat.layer, beside.no_twin, layers)
        found = unused_findings(channels)
        return Looks(panel, "", heat, tuple(labels[places].tolist()), found)

    def _leaks(
        self,
        source: Source,
        steps: Preprocessing | None,
        test: Split,
        budget: int | None,
        declared: Sequence[Expected],
        places: Mapping[int, Sequence[Region]],
    ) -> Leaks:
        """Patterns that give classes away, and what they do to the answers."""
        answers, labels = test.outputs.predictions, test.outputs.labels
        if test.outputs.several is not None:
            return Leaks((0, 0), reason=f"Leaks were not sought. {SEVERAL}")
        if test.performance.accuracy is None or answers is None:
            return Leaks((0, 0), reason=f"Leaks were not sought. {test.performance.reason}")
        compute = forward(self.intake.traced, [], steps, self.intake.outputs)
        rows = self._batch_size([])
        try:
            seen = scene(
                source, compute, answers, labels, test.classes, rows, self.seed, self.intake.how
            )
        except InputError as error:
            return Leaks((0, 0), reason=str(error))
        paths = dict(zip(source.ids or (), source.files or (), strict=False))
        files = [str(paths[name]) for name in seen.names] if paths else None
        return search(seen, files, self.tell, budget, declared, places)

    def _across(self, leaks: Leaks, test: Source, train: Source | None) -> Leaks:
        """With the pictures that are among the training images, too."""
        if train is None or train.length is None or test.length is None:
            return leaks
        found, left = repeated(test, train, self.tell)
        both = (*leaks.repeated, found) if found.groups else leaks.repeated
        left_out = (*leaks.open_questions, left) if left else leaks.open_questions
        return replace(leaks, repeated=both, open_questions=left_out)

    @staticmethod
    def _batch(
        source: Source, steps: Preprocessing | None, places: Sequence[int]
    ) -> tuple[Batch, list[int]]:
        """Some images, those of the size of the first, ready for the model; and their places."""
        found = list(pixels_at(source, places))
        alike = [(at, image) for at, image in found if image.shape == found[0][1].shape]
        stacked = np.stack([image for _, image in alike])
        ready = stacked if steps is None else steps.apply(stacked)
        ids = source.ids or ()
        names = tuple(ids[at] for at, _ in alike)
        return Batch([ready], names, [image for _, image in alike]), [at for at, _ in alike]

    def _described(self, taps: Sequence[Tap], train: Labelled, test: Labelled) -> Described:
        return describe(self.intake.traced, taps, train, test, self.rows, self.seed, self.tell)

    def _split(self, images: Images, effort: Effort) -> tuple[Split, Labelled]:
        source, steps, _ = self._some(images, effort)
        compute = forward(self.intake.traced, [], steps, self.intake.outputs)
        found = outputs(source, compute, self._batch_size([]), "training images", self.tell)
        split = replace(self._judgeable(found, source), digest=source.digest())
        return split, (source, steps, found)

    def _judgeable(self, found: Outputs, source: Source) -> Split:
        unnamed = self.intake.classes is None
        return Split(found, source.class_names, source.label_mismatch, unnamed)

    @contextmanager
    def _kept(self, directory: str | Path | None, plan: Plan) -> Iterator[RunDirectory]:
        """The run directory, one that goes away where none was asked for."""
        with tempfile.TemporaryDirectory(prefix="layerscope-") as nowhere:
            where = directory or Path(nowhere) / "run"
            with open_run(where, plan.described, plan.hash) as run:
                yield run

    def _plan(
        self,
        source: Source,
        taps: Sequence[Tap],
        steps: Preprocessing | None,
        sample: int | None,
        nulls: Sequence[str],
        encoder: str,
    ) -> Plan:
        return planned(
            source,
            weights_hash(self.intake.model),
            (steps.name if steps else "", self.intake.how),
            tuple(tap.path for tap in taps),
            sample,
            nulls,
            encoder,
            self.seed,
            versions(),
        )

    def _batch_size(self, taps: Sequence[Tap]) -> int:
        return self.rows or batch_size(self.intake.traced, taps, MOST_IMAGES)
