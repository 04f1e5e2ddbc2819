"""From configuration, catalog, environment and stored keys to what the data path reads."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from ipaddress import ip_address
from typing import Any

from msgspec import UNSET, Struct
from msgspec.structs import replace

from torana import providers
from torana.config.decode import given, nearest
from torana.config.document import shown
from torana.config.references import Problem
from torana.config.rules import digest_of
from torana.config.secret import Secret
from torana.config.shape import AliasRow, Config, KeyRow, ModelRow, PriceRow, ProviderRow
from torana.control.secrets import prefix_of
from torana.errors import ConfigError
from torana.records import Key, Model, Price, Provider, Snapshot, Tier


class Resolved(Struct):
    """Whom a configuration can reach with this catalog and this environment. With problems it is not whole."""

    providers: dict[str, Provider] = {}
    problems: list[Problem] = []


def snapshot(config: Config, environ: Mapping[str, str], stored: Iterable[Key], version: int) -> Snapshot:
    """All that the data path reads. Raises ConfigError, also for a key defined both in file and store."""
    found = resolve(config, environ)
    if found.problems:
        place, why = found.problems[0]
        raise ConfigError(f"{'.'.join(map(str, place))}: {why}")
    return Snapshot(
        keys={key.digest: key for key in keys(config, stored)},
        providers=found.providers,
        models=_models(found.providers, config),
        aliases={name: alias.targets for name, alias in config.models.items()},
        version=version,
    )


# ---------------------------------------------------------------- keys


def keys(config: Config, stored: Iterable[Key]) -> list[Key]:
    """Every key, revoked ones too. A name or a secret in both places is refused: which of the two was meant, nobody
    knows, and a secret that was revoked does not come back through the file."""
    own = [_key(row) for row in config.keys]
    names = {key.name for key in own}
    digests = {key.digest for key in own}
    kept = list(stored)
    for key in kept:
        if key.revoked and key.digest in digests:
            raise ConfigError(
                f"a key under `keys:` has the secret of {key.id}, which was revoked; give it a new one"
            )
        if not key.revoked and (key.name in names or key.digest in digests):
            raise ConfigError(
                f"the key {key.name!r} is in the configuration and in the database ({key.id}); "
                f"remove one of them, for example with: torana keys revoke {key.id}"
            )
    return own + kept


def _key(row: KeyRow) -> Key:
    prefix = "" if row.secret is UNSET else prefix_of(row.secret.reveal())
    return Key(id=f"config:{row.name}", name=row.name, digest=digest_of(row), prefix=prefix, source="config")


def guard(host: str, known: Iterable[Key]) -> None:
    """Refuse to listen where others can reach us unless someone made a key on purpose: a generated one that nobody
    has read about protects nothing that its owner knows of. Raises ConfigError."""
    if is_loopback(host) or any(key.source != "generated" and not key.revoked for key in known):
        return
    raise ConfigError(
        f"refusing to listen on {host} without a key of your own: others could spend your providers' credit. "
        "Make one with `torana keys create NAME`, add one under `keys:`, or listen on 127.0.0.1"
    )


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False  # a name can lead anywhere


# ---------------------------------------------------------------- providers and models


def resolve(config: Config, environ: Mapping[str, str]) -> Resolved:
    """Providers whose credential is known. Everything that does not fit together is in `problems`."""
    catalog = providers.load_catalog()
    found = Resolved()
    rows = _merged(catalog, config, found.problems)
    targets = {target.partition("/")[0] for alias in config.models.values() for target in alias.targets}
    if not found.problems:
        _find_usable(rows, {*config.providers, *targets}, environ, found)
    if not found.problems:
        _check_targets(config, rows, found)
    return found


def _merged(catalog: Mapping[str, Provider], config: Config, problems: list[Problem]) -> dict[str, Provider]:
    """One row at a time, so that a refusal is told with its line."""
    rows = dict(catalog)
    for name, row in config.providers.items():
        if name not in catalog and row.base_url is UNSET:
            why = f"not in the catalog, so it needs a base_url; {nearest(name, catalog)}"
            problems.append((("providers", name), why))
            continue
        try:
            rows[name] = providers.merge(
                {k: v for k, v in catalog.items() if k == name}, {name: overrides(row)}
            )[name]
        except ConfigError as exc:
            problems.append(_placed(exc, name))
    return rows


def _find_usable(
    rows: Mapping[str, Provider], named: set[str], environ: Mapping[str, str], found: Resolved
) -> None:
    for name, row in rows.items():
        try:
            found.providers.update(providers.configured({name: row}, environ, named))
        except ConfigError as exc:
            found.problems.append(_placed(exc, name))


def _placed(exc: ConfigError, name: str) -> Problem:
    """ "providers.mine.dialect: why" as a place and a reason."""
    prefix = f"providers.{name}"
    where, colon, why = exc.message.partition(": ")
    if colon and where.startswith(f"{prefix}."):
        return ("providers", name, *where.removeprefix(f"{prefix}.").split(".")), why
    return ("providers", name), exc.message.removeprefix(prefix).lstrip(".: ")


def _check_targets(config: Config, rows: Mapping[str, Provider], found: Resolved) -> None:
    known = {*rows, *found.providers}
    for name, alias in config.models.items():
        for index, target in enumerate(alias.targets):
            provider = target.partition("/")[0]
            if provider not in found.providers:
                why = f"there is no provider {shown(provider)}; {nearest(provider, known)}"
                found.problems.append((("models", name, "targets", index), why))
    _check_facts(config, found.problems)


def _check_facts(config: Config, problems: list[Problem]) -> None:
    """What a configured name says of its targets holds for them wherever they are used, so two may not disagree."""
    said: dict[str, tuple[str, AliasRow]] = {}
    for name, alias in config.models.items():
        for target in alias.targets if _fields(alias) else ():
            first, row = said.setdefault(target, (name, alias))
            if _fields(row) != _fields(alias):
                why = f"other facts of {shown(target)} stand under models.{first}; write them in one place"
                problems.append((("models", name), why))


def overrides(row: ProviderRow) -> dict[str, Any]:
    """The written fields of a row as plain values with the names of records.Provider: {"base_url": "...",
    "api_key": "...", "accent": {"drop": [...]}, "timeouts": {"total_s": 60.0}}."""
    return {
        name: _plain(value)
        for name, value in given(row).items()
        if not (name == "models" and isinstance(value, dict))
    }


def _plain(value: Any) -> Any:
    match value:
        case Secret():
            return value.reveal()
        case Struct():
            return {name: _plain(item) for name, item in given(value).items()}
        case dict():
            return {name: _plain(item) for name, item in value.items()}
        case _:
            return value


def _models(usable: Mapping[str, Provider], config: Config) -> dict[str, dict[str, Model]]:
    """What is known of each provider's models: our data, changed by the provider's row, then by the names."""
    sources = {name: row.models or name for name, row in usable.items()}
    known = providers.models_of(set(sources.values()))
    found = {name: dict(known[source]) for name, source in sources.items()}
    for name, row in config.providers.items():
        if isinstance(row.models, dict):
            for id, written in row.models.items():
                _change(found[name], name, id, written)
    for alias in config.models.values():
        for target in alias.targets:
            provider, _, id = target.partition("/")
            if _fields(alias):
                _change(found[provider], provider, id, alias)
    return found


def _change(rows: dict[str, Model], provider: str, id: str, written: ModelRow | AliasRow) -> None:
    known = rows.get(id) or Model(id=id, provider=provider)
    rows[id] = replace(known, **_fields(written))


def _fields(row: ModelRow | AliasRow) -> dict[str, Any]:
    fields = {name: value for name, value in given(row).items() if name != "targets"}
    if "price" in fields:
        fields["price"] = price(fields["price"])
        fields["priced"] = "config"
    return fields


def price(row: PriceRow) -> Price:
    """Dollars per million tokens are pico-dollars per token times 10**6; rules.py has checked the decimals."""
    plain = ("request", "calls", "above")
    per_token = {
        name: _scaled(amount, 6)
        for name in row.__struct_fields__
        if name not in plain and (amount := getattr(row, name)) is not None
    }
    return Price(
        **per_token,
        request=_scaled(row.request, 9),
        calls={name: _scaled(amount, 9) for name, amount in row.calls.items()} or None,
        above=tuple(Tier(tier.tokens, price(tier.price)) for tier in row.above),
    )


def _scaled(amount: Decimal, places: int) -> int:
    return int(amount.scaleb(places))
