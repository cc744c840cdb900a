"""The suite of a family."""

from __future__ import annotations

import json
from collections.abc import Sequence

from zoo.contracts.family import About, Family, GrammarFamily
from zoo.errors import MissingExtraError, MissingPluginError, ModelNameError, OptionError
from zoo.factory import build_model
from zoo.names import ChoicePart, ComponentPart, NamePart, NumberPart, Spec
from zoo.registry import NOTEBOOK, parse_name
from zoo.testing.imports import import_deeds
from zoo.testing.models import CLASSES, ModelTests, compose
from zoo.testing.outcome import ConformanceError, NotApplicable, attempting, require

STANDARD = {"backbone": "resnet", "encoder": "ste", "decoder": "bpd", "neuron": "if"}
"""What stands for a component in a name that nobody chose."""


class FamilyTests(ModelTests):
    """Names that read back as they were written, and the networks behind them.

    Example:
        >>> class TestMine(FamilyTests):
        ...     name = "mine"
        ...     names = ("mine_resnet_b2_m2_d1",)

    Attributes:
        names: model names to try, the smallest first; none for the family's own `examples`, or else one for every
            grammar of a `GrammarFamily`.
    """

    kind = "family"
    names: tuple[str, ...] = ()

    def models(self) -> Sequence[str]:
        names = self.names or self._examples()
        if not names:
            raise NotApplicable(
                f'no models named; add `names = ("{self.name}_…",)` to the test, or to {self.load().__name__} '
                '`examples = ("…",)`, names behind the family\'s own'
            )
        return names

    def _examples(self) -> tuple[str, ...]:
        """The family's own, or made of its grammars; not applicable where they need a library that is missing."""
        family = self._family()
        names = tuple(f"{self.name}_{example}" for example in family.examples) or _of_grammars(family, self.name)
        for name in names:
            try:
                parse_name(name, self.components)
            except (MissingPluginError, MissingExtraError) as error:
                raise NotApplicable(str(error)) from error
            except Exception:  # whatever is wrong with it, the checks say
                continue
        return names

    def _family(self) -> Family:
        cls = self.load()
        with attempting("the constructor without arguments"):
            family: Family = cls()
        return family

    def _parse(self, name: str) -> Spec:
        with attempting(f"parsing {name!r}"):
            spec = parse_name(name, self.components)
        return spec

    def test_names_round_trip(self) -> None:
        """parse(str(spec)) == spec, with a tag too; the canonical name does not change again."""
        for name in self.models():
            for text in (name, f"{name}.tag"):
                spec = self._parse(text)
                again = self._parse(str(spec))
                require(
                    again == spec,
                    f"{text!r} is formatted as {str(spec)!r}, which reads back as {again.fields}, not {spec.fields}; "
                    "make `format` the inverse of `parse`",
                )

    def test_specs_are_json(self) -> None:
        """Fields are plain strings and whole numbers, with names of their own."""
        for name in self.models():
            spec = self._parse(name)
            keys = [key for key, _ in spec.fields]
            require(len(set(keys)) == len(keys), f"{name!r}: a field's name occurs twice in {keys}")
            for key, value in spec.fields:
                plain = isinstance(value, str | int) and not isinstance(value, bool)
                require(plain, f"{name!r}: field {key!r} is {value!r}; make it a string or a whole number")
            with attempting(f"json.dumps of the spec of {name!r}"):
                text = json.dumps(spec.to_json())
            fields = tuple(json.loads(text)["fields"].items())
            require(fields == spec.fields, f"{name!r}: JSON gives {fields} for {spec.fields}")

    def test_wrong_names_are_refused(self) -> None:
        """By a `ModelNameError`, whatever is wrong."""
        name_of_model = self._parse(self.models()[0]).text
        head = name_of_model.partition("_")[0]
        for name in (
            head,
            f"{head}_",
            f"{head}_no_such_thing",
            f"{name_of_model}_",
            f"{name_of_model}_x",
            f"{name_of_model}__x",
            f"{head}__",
        ):
            try:
                spec = parse_name(name, self.components)
            except ModelNameError:
                continue
            except Exception as error:
                raise ConformanceError(
                    f"parsing {name!r} raises {type(error).__name__}: {error}; raise a zoo.errors.ModelNameError"
                ) from error
            raise ConformanceError(f"{name!r} is accepted, as {spec.fields}; refuse what is not a name of this family")

    def test_naming_loads_no_torch(self) -> None:
        """Listing and parsing import the family's module, and must not take torch's second."""
        component = self.component
        if component.distribution == NOTEBOOK:
            raise NotApplicable("a class registered in this process has no import of its own")
        module = component.target.partition(":")[0]
        loads = "imports torch" in import_deeds(module, without_torch=True)
        require(
            not loads,
            f"importing {module} imports torch; import it inside `build`, and the contracts from zoo.contracts.family",
        )

    def test_the_model_is_what_was_asked_for(self) -> None:
        """It carries its spec, its number of classes and its channels."""
        for name in self.models():
            spec = self._parse(name)
            with attempting(f"building {name!r}"):
                model = build_model(spec, CLASSES, 4, self.components)
            stated = (model.spec, model.num_classes, model.in_chans)
            require(
                stated == (spec, CLASSES, 4),
                f"{name!r}: the model says spec, num_classes, in_chans = {stated}, asked for {(spec, CLASSES, 4)}; "
                "set them from the request",
            )

    def test_the_control_has_no_spikes(self) -> None:
        """The network that a comparison shows beside it is one that exists, and nothing in it spikes."""
        family = self._family()
        controls = {name: family.control(dict(self._parse(name).fields)) for name in self.models()}
        for name, control in controls.items():
            if control is not None:
                model = compose(control, self.components)
                require(
                    model.timesteps == 1 and not model.spiking_module_names,
                    f"{name!r}: its control {control!r} spikes; name the same network without its spiking branch",
                )
        if not any(controls.values()):
            raise NotApplicable("no control; override `control(fields)` where the same network exists without spikes")

    def test_it_says_what_it_is(self) -> None:
        """`about` gives a model card a sentence on every network, in plain text or Markdown."""
        family = self._family()
        for name in self.models():
            for timesteps in (1, 8):
                with attempting(f"`about` of {name!r}"):
                    about = family.about(dict(self._parse(name).fields), timesteps)
                require(
                    isinstance(about, About) and all(isinstance(text, str) for text in vars(about).values()),
                    f"{name!r}: `about` gives {about!r}; return a zoo.contracts.About of texts",
                )
                require(
                    about.summary.rstrip().endswith("."),
                    f"{name!r}: the summary of `about` is {about.summary!r}; write a sentence, with its full stop",
                )

    def test_options(self) -> None:
        """`options` are names, and another one is an `OptionError`."""
        options = self._family().options
        require(
            isinstance(options, frozenset) and all(isinstance(o, str) and o.isidentifier() for o in options),
            f"`options` is {options!r}; return a frozenset of names of keyword arguments",
        )
        spec = self._parse(self.models()[0])
        try:
            build_model(spec.with_options({"family": {"no_such_option": 1}}), CLASSES, 3, self.components)
        except OptionError:
            return
        raise ConformanceError("an unknown option is accepted; list those that `build` reads in `options`")


def _example(part: NamePart) -> str | None:
    """A text for a part of a grammar; None where nothing is known of it."""
    if isinstance(part, NumberPart):
        return part.format(min(2, part.maximum))
    if isinstance(part, ChoicePart):
        return part.choices[0]
    if isinstance(part, ComponentPart):
        return part.default or STANDARD.get(part.name)
    return None


def _of_grammars(family: Family, name: str) -> tuple[str, ...]:
    """One name for every grammar of a family that has grammars."""
    names = []
    for grammar in family.grammars if isinstance(family, GrammarFamily) else ():
        texts = [_example(part) for part in grammar.parts]
        if None not in texts:
            names.append("_".join([name, *(str(text) for text in texts)]))
    return tuple(names)
