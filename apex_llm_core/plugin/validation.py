"""What pluggy does not check: known names, markers, parameters and forms of the hooks a plugin implements."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any, Literal

import attrs

from apex_llm_core.errors import nearest
from apex_llm_core.hookspecs import HOOKSPECS
from apex_llm_core.markers import HOOK_PREFIX, PROJECT_NAME

Form = Literal["async", "stream", "sync"]
_SAMPLES: dict[Form, tuple[str, str]] = {
    "async": ("a coroutine function", "async def {name}({arguments}):"),
    "stream": (
        "an async generator function (or a plain one that returns such a generator)",
        "async def {name}({arguments}): … yield batch",
    ),
    "sync": ("a plain function", "def {name}({arguments}):"),
}


@attrs.frozen(kw_only=True)
class HookForm:
    """What an implementation of one hook must look like."""

    name: str
    #: Without `self`.
    parameters: tuple[str, ...]
    form: Form


def _forms() -> dict[str, HookForm]:
    forms = {}
    for spec in HOOKSPECS:
        for name, function in vars(spec).items():
            if name.startswith(HOOK_PREFIX):
                parameters = tuple(inspect.signature(function).parameters)[1:]
                form: Form = "async" if inspect.iscoroutinefunction(function) else "sync"
                if name in {"apex_stream", "apex_around_stream"}:
                    form = "stream"
                forms[name] = HookForm(name=name, parameters=parameters, form=form)
    return forms


#: Every hook by its name.
HOOKS: dict[str, HookForm] = _forms()


def problems(plugin: object) -> list[str]:
    """Return what is wrong with the hooks of *plugin* (a module or an instance), each as a sentence; empty when all is well."""
    found = []
    if inspect.isclass(plugin):
        found.append(f"{plugin.__name__} is a class; hooks need an instance: write {plugin.__name__}()")
        return found
    if not isinstance(plugin, ModuleType) and type(plugin).__eq__ is not object.__eq__:
        found.append(
            f"{type(plugin).__name__} compares by value, but plugins are told apart by identity: "
            "use @attrs.define(eq=False) or drop __eq__"
        )
    for name in dir(plugin):
        if name.startswith(HOOK_PREFIX):
            # Static look-up: a property must not run just because somebody looks at it.
            value = inspect.getattr_static(plugin, name)
            function = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
            problem = _problem(plugin, name, function)
            if problem is not None:
                found.append(problem)
    return found


def _problem(plugin: object, name: str, function: object) -> str | None:
    hook = HOOKS.get(name)
    if hook is None:
        return f"{name} is no hook{nearest(name, HOOKS)}"
    if not inspect.isroutine(function):
        return f"{name} is not a function but {type(function).__name__}"
    marker = getattr(function, f"{PROJECT_NAME}_impl", None)
    if marker is None:
        return f"{name} lacks its marker; write @hookimpl above it (from apex_llm_core.markers import hookimpl)"
    if marker.get("wrapper") or marker.get("hookwrapper"):
        return (
            f"{name} is marked as a wrapper, which cannot wrap a coroutine; write a middleware (apex_around_…) instead"
        )
    arguments = ", ".join(() if isinstance(plugin, ModuleType) else ("self",)) + (
        "" if isinstance(plugin, ModuleType) or not hook.parameters else ", "
    )
    right = _SAMPLES[hook.form][1].format(name=name, arguments=arguments + ", ".join(hook.parameters))
    return _wrong_parameters(plugin, hook, function, right) or _wrong_form(hook, function, right)


def _wrong_parameters(plugin: object, hook: HookForm, function: Callable[..., Any], right: str) -> str | None:
    parameters = list(inspect.signature(function).parameters.values())
    bound = not isinstance(plugin, ModuleType) and not isinstance(
        inspect.getattr_static(plugin, hook.name), staticmethod
    )
    if bound and hook.name not in getattr(plugin, "__dict__", {}):
        parameters = parameters[1:]
    for parameter in parameters:
        if parameter.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD:
            return f"{hook.name} has the parameter {parameter}, but hooks take plain positional parameters: {right}"
        if parameter.default is not inspect.Parameter.empty:
            return f"{hook.name} gives {parameter.name!r} a default, which hooks may not have: {right}"
    names = tuple(parameter.name for parameter in parameters)
    if names != hook.parameters:
        return f"{hook.name} takes ({', '.join(names)}); expected ({', '.join(hook.parameters)}): {right}"
    return None


def _wrong_form(hook: HookForm, function: Callable[..., Any], right: str) -> str | None:
    is_coroutine = inspect.iscoroutinefunction(function)
    is_generator = inspect.isasyncgenfunction(function)
    fits = {
        "async": is_coroutine,
        "stream": not is_coroutine and not inspect.isgeneratorfunction(function),
        "sync": not is_coroutine and not is_generator,
    }[hook.form]
    if fits:
        return None
    return f"{hook.name} must be {_SAMPLES[hook.form][0]}: {right}"


__all__ = ["HOOKS", "Form", "HookForm", "problems"]
