"""``apex-llm image``: a prompt to image files."""

from __future__ import annotations

import base64
import binascii
import mimetypes
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from apex_llm_cli.options import Invocation, given, request_options
from apex_llm_cli.prompts import read_prompt

if TYPE_CHECKING:
    from apex_llm_core.manager import LLMProviderManager
    from apex_llm_core.models import ImageGenerationResult, ImagePart

_EXISTING = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("image")
@click.argument("prompt", nargs=-1)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    required=True,
    help="Where the image goes; of several, the first goes to FILE-1.",
)
@click.option("--force", is_flag=True, help="Overwrite files that exist.")
@click.option("--size", metavar="WxH", help="Width and height in pixels, for example 1024x1024.")
@click.option("--n", type=int, metavar="N", help="How many images.")
@click.option("--quality", metavar="WORD", help="The provider's own word for quality.")
@click.option("--style", metavar="WORD", help="The provider's own word for style.")
@click.option("--seed", type=int, metavar="N", help="Make the image repeatable where the model can.")
@click.option(
    "--change",
    metavar="FILE",
    type=_EXISTING,
    multiple=True,
    help="Change this image instead of making a new one; may be repeated.",
)
@click.option("--mask", metavar="FILE", type=_EXISTING, help="An image, transparent where the first one may change.")
@request_options
@click.pass_obj
def command(
    invocation: Invocation,
    /,
    prompt: tuple[str, ...],
    output: Path,
    force: bool,
    change: tuple[Path, ...],
    mask: Path | None,
    **options: Any,
) -> None:
    """Make images from a prompt and write them to files.

    Images that a provider only links to are printed as URLs.
    """
    text = read_prompt(prompt)
    # Before anything is paid for.
    _check_targets(targets(output, options["n"] or 1), force=force)
    if change:
        options["images"] = [_read(file) for file in change]
    if mask is not None:
        options["mask"] = _read(mask)
    from apex_llm_cli.output import print_document, write
    from apex_llm_cli.running import with_manager

    async def draw(manager: LLMProviderManager) -> ImageGenerationResult:
        return await manager.generate_image(text, **given(options))

    result = with_manager(invocation, draw)
    if result.media_type is None:
        files: Sequence[Path] = ()
        shown: Sequence[object] = result.images
    else:
        shown = files = _save(result, output, force=force)
    if invocation.json:
        from apex_llm_core.converters import unstructure

        print_document(unstructure(result) | {"files": [str(file) for file in files]})
    else:
        write("".join(f"{line}\n" for line in shown))


def _read(file: Path) -> ImagePart:
    from apex_llm_core.models import ImagePart

    media_type, _ = mimetypes.guess_type(file.name, strict=False)
    if media_type is None or not media_type.startswith("image/"):
        raise click.UsageError(f"the name of {str(file)!r} does not say which kind of image it is, for example .png")
    try:
        data = file.read_bytes()
    except OSError as error:
        raise click.FileError(str(file), f"cannot be read: {error.strerror}") from error
    return ImagePart(data=base64.b64encode(data).decode(), media_type=media_type)


def targets(output: Path, count: int) -> list[Path]:
    """Return the files for *count* images: *output* itself for one, else numbered from 1."""
    if count == 1:
        return [output]
    return [output.with_name(f"{output.stem}-{number}{output.suffix}") for number in range(1, count + 1)]


def _check_targets(files: Sequence[Path], *, force: bool) -> None:
    context = click.get_current_context()
    for file in files:
        if not file.parent.is_dir():
            raise click.UsageError(f"the directory {str(file.parent)!r} does not exist", context)
        if file.is_dir():
            raise click.UsageError(f"{str(file)!r} is a directory", context)
        if file.exists() and not force:
            raise click.UsageError(f"{str(file)!r} exists; --force overwrites it", context)


def _save(result: ImageGenerationResult, output: Path, *, force: bool) -> list[Path]:
    from apex_llm_cli.failures import warn
    from apex_llm_core.errors import ServiceUnavailableError

    try:
        images = [base64.b64decode(image, validate=True) for image in result.images]
    except binascii.Error as error:
        raise ServiceUnavailableError(
            f"provider {result.provider!r} sent an image that is no base64: {error}",
            provider=result.provider,
            model=result.model,
            attempts=result.attempts,
            original_error=error,
        ) from error
    files = targets(output, len(images))
    for file, image in zip(files, images, strict=True):
        try:
            with file.open("wb" if force else "xb") as stream:
                stream.write(image)
        except OSError as error:
            raise click.FileError(str(file), f"cannot be written: {error.strerror}") from error
    named, _ = mimetypes.guess_type(output.name, strict=False)
    if named is not None and named != result.media_type:
        warn(f"the image is {result.media_type}, though {output.name!r} says {named}")
    return files


__all__ = ["command", "targets"]
