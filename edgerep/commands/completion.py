"""`edgerep completion SHELL`."""

from __future__ import annotations

import click

from edgerep.commands.shared.help_page import Command


@click.command(
    "completion",
    cls=Command,
    examples=(
        "edgerep completion bash > ~/.local/share/bash-completion/completions/edgerep",
        'edgerep completion zsh > "${fpath[1]}/_edgerep"',
        "edgerep completion fish > ~/.config/fish/completions/edgerep.fish",
    ),
)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell, to be kept where the shell looks for it."""
    from click.shell_completion import get_completion_class

    script = get_completion_class(shell)
    if script is None:
        raise click.UsageError(f"click knows no completion for {shell}")
    root = context.find_root().command
    click.echo(script(root, {}, "edgerep", "_EDGEREP_COMPLETE").source())
