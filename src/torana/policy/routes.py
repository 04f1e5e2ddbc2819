"""Where a call may go: the model string, read against the configuration.

    model := item ("," item)*                  tried left to right
    item  := "!" provider                      not this provider, in the whole request
           | name [":online"] ["/" provider ["/" deployment]]
           | provider "/" name  |  provider ":" name

A spelling that can be read two ways is read in this order: a configured model name; `provider/name`;
`provider:name`; `name/provider[/deployment]`; a model id that contains the `/` itself. A bare name is served by
every provider that lists it, cheapest first. An unknown name at a known provider is passed through.
"""

from msgspec import Struct

from torana.errors import InvalidRequest, ModelNotFound
from torana.providers import find, suggestion
from torana.records import Model, Provider, Snapshot, Target, Traits

MODEL_CHARS_MAX = 512  # the longest recorded model name has 104 characters
ITEMS_MAX = 16
CACHE_ENTRIES_MAX = 4096
ONLINE = ":online"


class Route(Struct, frozen=True):
    """Targets in the order they would be tried; `unmet` names what of the model string is not acted on."""

    targets: tuple[Target, ...]
    unmet: tuple[str, ...] = ()


class Routes:
    """The reading of model strings against one Snapshot, remembered."""

    __slots__ = ("_serving", "_snapshot", "_targets", "_told")

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._told: dict[str, Route] = {}
        self._targets: dict[tuple[str, str], Target] = {}
        self._serving: dict[str, list[str]] | None = None

    @property
    def snapshot(self) -> Snapshot:
        return self._snapshot

    def find(self, model: str) -> Route:
        """Raises ModelNotFound with the closest names, or InvalidRequest for a string that is no model."""
        route = self._told.get(model)
        if route is None:
            route = self._read(model)
            if len(self._told) >= CACHE_ENTRIES_MAX:
                self._told.clear()
            self._told[model] = route
        return route

    def _read(self, model: str) -> Route:
        if not model or len(model) > MODEL_CHARS_MAX or not model.isprintable():
            raise InvalidRequest("model must be a name of 1 to 512 printable characters", param="model")
        if model in self._snapshot.aliases:
            return Route(tuple(self._configured(model)))
        items = [item.strip() for item in model.split(",") if item.strip()]
        if len(items) > ITEMS_MAX:
            raise InvalidRequest(f"a model list has at most {ITEMS_MAX} items", param="model")
        excluded = {item[1:] for item in items if item.startswith("!")}
        unmet = []
        targets: list[Target] = []
        for item in items:
            if item.startswith("!"):
                continue
            name = item
            if ONLINE in item and item not in self._snapshot.aliases:
                name = item.replace(ONLINE, "", 1)
                unmet.append(f"model{ONLINE}")
            targets += [t for t in self._item(name) if t.provider.name not in excluded]
        if not targets:
            raise self._unknown(model)
        return Route(tuple({id(target): target for target in targets}.values()), tuple(unmet))

    def _item(self, item: str) -> list[Target]:
        if item in self._snapshot.aliases:
            return self._configured(item)
        providers = self._snapshot.providers
        for mark in ("/", ":"):
            head, found, rest = item.partition(mark)
            if found and rest and head in providers:
                return [self.target(providers[head], rest)]
        parts = item.split("/")
        if len(parts) > 1 and parts[-1] in providers:
            return [self.target(providers[parts[-1]], "/".join(parts[:-1]))]
        if len(parts) > 2 and parts[-2] in providers:
            return [self.target(providers[parts[-2]], parts[-1])]
        return [self.target(providers[name], item) for name in self._serve(item)]

    def _configured(self, alias: str) -> list[Target]:
        """The targets of a configured model name. Config has checked that each names a provider."""
        found = []
        for text in self._snapshot.aliases[alias]:
            head, _, rest = text.partition("/")
            found.append(self.target(self._snapshot.providers[head], rest))
        return found

    def _serve(self, model: str) -> list[str]:
        if self._serving is None:
            self._serving = {}
            for provider in self._snapshot.providers:
                for id in self._snapshot.models.get(provider, ()):
                    self._serving.setdefault(id, []).append(provider)
        names = self._serving.get(model, [])
        return sorted(names, key=lambda name: _price(self._snapshot.models[name][model]))

    def target(self, provider: Provider, model: str) -> Target:
        """One object per target, so that what is prepared for it is prepared once."""
        found = self._targets.get((provider.name, model))
        if found is None:
            row = find(self._snapshot.models.get(provider.name, {}), model)
            found = Target(provider, model, row, traits(provider, row))
            if len(self._targets) >= CACHE_ENTRIES_MAX:
                self._targets.clear()
            self._targets[provider.name, model] = found
        return found

    def _unknown(self, model: str) -> ModelNotFound:
        known = [*self._snapshot.aliases]
        for provider, rows in self._snapshot.models.items():
            if provider in self._snapshot.providers:
                known += rows
        name = model.rsplit("/", 1)[-1]
        # Comparing with every one of thousands of names costs milliseconds of everybody's loop.
        hint = suggestion(name, [other for other in known if other[:1].lower() == name[:1].lower()])
        return ModelNotFound(
            f"model {model!r} is not configured.{hint} List: GET /v1/models",
            param="model",
            code="model_not_found",
        )


def traits(provider: Provider, row: Model | None) -> Traits:
    """What a renderer must know: the provider's accent, the model's abilities."""
    known = row or Model(id="")
    return Traits(
        accent=provider.accent,
        output_max=known.output_max,
        thinking=known.thinking,
        structured=known.structured,
        sampling=known.sampling,
        issuer=provider.issuer,
        version=provider.headers.get("anthropic-version", ""),
    )


def _price(row: Model) -> int:
    """Input and output together; a model without a price comes last."""
    return row.price.input + row.price.output if row.price else 1 << 62
