"""Commands that refuse what click would take in silence, and know what users of other tools type."""

from __future__ import annotations

import click

CONFIDENCE = "--eta", "--eta is the probability above which stage 1's answer stands"
SIZE = "", "the bundle's image size is fixed at export"
# Options of other tools: the option to name instead, where the command has it, and what is said of it.
HINTS = {
    "--conf": CONFIDENCE,
    "--conf-thres": CONFIDENCE,
    "--threshold": CONFIDENCE,
    "--imgsz": SIZE,
    "--img-size": SIZE,
}


class StrictCommand(click.Command):
    """Command with single options that are given once: click takes the last of several."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments. Raises click's UsageError."""
        if ctx.resilient_parsing:  # a shell completes a line that is not finished
            return super().parse_args(ctx, args)
        try:
            _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        except click.NoSuchOption as error:
            instead, hint = HINTS.get(error.option_name, (None, ""))
            if instead == "" or any(instead in param.opts for param in self.params):
                raise click.NoSuchOption(error.option_name, f"No such option '{error.option_name}': {hint}.") from error
            raise
        seen: set[str] = set()
        for param in order:
            if isinstance(param, click.Option) and not (param.multiple or param.is_flag or param.count):
                if param.name in seen:
                    raise click.UsageError(f"{max(param.opts, key=len)} is given twice; give it once", ctx)
                seen.add(str(param.name))
        return super().parse_args(ctx, args)
