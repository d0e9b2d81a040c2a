"""The progress bar of ``fit_batches``."""

from contextlib import contextmanager

import numpy as np


@contextmanager
def progress_bar(shown, batches, epochs):
    """Yield a function ``(epoch, position, total=None, r2=nan)`` that moves the bar, or does nothing.

    At the end of an epoch the number of its chunks is known, and for squared errors R².
    """
    if not shown:
        yield lambda *args: None
        return
    try:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    except ImportError as error:
        raise ImportError("progress=True needs rich: pip install 'sk_gdlinear[files]'.") from error
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("chunks")
    with Progress(*columns, TimeElapsedColumn()) as bar:
        task = bar.add_task("", total=len(batches) if hasattr(batches, "__len__") else None)
        shown_r2 = ""

        def advance(epoch, position, total=None, r2=np.nan):
            nonlocal shown_r2
            shown_r2 = f", R2 {r2:.6f}" if np.isfinite(r2) else shown_r2
            known = {} if total is None else {"total": total}
            bar.update(task, description=f"epoch {epoch + 1}/{epochs}{shown_r2}", completed=position, **known)

        yield advance
