"""`edgerep completion SHELL`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    r"""Print the completion script of a shell.

    \b
    bash:  edgerep completion bash > ~/.local/share/bash-completion/completions/edgerep
    zsh:   edgerep completion zsh > "${fpath[1]}/_edgerep"
    fish:  edgerep completion fish > ~/.config/fish/completions/edgerep.fish
    """
    script = get_completion_class(shell)
    if script is None:
        raise click.UsageError(f"click knows no completion for {shell}")
    root = context.find_root().command
    click.echo(script(root, {}, "edgerep", "_EDGEREP_COMPLETE").source())
