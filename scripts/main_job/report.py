"""What the job hands over: report.md, figures.json, two pictures, the trained weights."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from lstm_numba.train import checkpoint
from lstm_numba.whole_file import replaced_when_whole
from scripts.main_job import plots
from scripts.main_job.corpus import Corpus
from scripts.main_job.forecast import HORIZONS, Forecasts
from scripts.main_job.sunspots import Series, rmse
from scripts.main_job.trainer import Trainer


@dataclass(frozen=True)
class Language:
    """Bits per byte on the held-out bytes: the three figures, and a text that the model wrote."""

    model: float
    context: float
    gzip: float
    sample: str

    @property
    def named(self) -> dict[str, float]:
        return {"recurrent model": self.model, "order-3 contexts": self.context, "gzip -9": self.gzip}


def write(folder: Path, trainer: Trainer, language: Language, series: Series, said: dict[str, Forecasts]) -> Path:
    """Write everything into the folder; return the path of the report."""
    errors = table(series, said)
    checkpoint.save(folder / "weights.npz", trainer.model.parameters, {"settings": asdict(trainer.settings)})
    figures = {"bits_per_byte": language.named, "rmse": errors, "settings": asdict(trainer.settings)}
    _write(folder / "figures.json", json.dumps(figures, indent=2) + "\n")
    baselines = {name: bits for name, bits in language.named.items() if name != "recurrent model"}
    plots.learning_curve(folder / "language.png", trainer.losses, trainer.curve, baselines)
    plots.forecasts(folder / "forecast.png", series, HORIZONS[0], said)
    path = folder / "report.md"
    _write(path, _text(folder, trainer, language, errors))
    return path


def _write(path: Path, text: str) -> None:
    with replaced_when_whole(path, OSError) as file:
        file.write(text.encode())


def table(series: Series, said: dict[str, Forecasts]) -> dict[str, dict[str, float]]:
    """Root mean squared error over the years that judge, by model and horizon."""
    return {name: {str(h): rmse(series, by[h], series.judge) for h in HORIZONS} for name, by in said.items()}


def language_lines(language: Language) -> list[str]:
    return [f"| {name} | {bits:.3f} |" for name, bits in language.named.items()]


def forecast_lines(errors: dict[str, dict[str, float]]) -> list[str]:
    """One row a model: its error, and how much smaller than the naive forecast's."""
    naive = errors["naive"]
    cells = {name: [f"{e:.1f} ({e / naive[h] - 1:+.0%})" for h, e in row.items()] for name, row in errors.items()}
    return [f"| {name} | {' | '.join(row)} |" for name, row in cells.items()]


def _text(folder: Path, trainer: Trainer, language: Language, errors: dict[str, dict[str, float]]) -> str:
    newline = "\n"
    return f"""# {folder.name}

## Language: the Python standard library, byte by byte

{_what_was_trained(trainer)}

| bits per byte on {len(trainer.corpus.held_out):,} held-out bytes | |
|---|---|
{newline.join(language_lines(language))}

- *order-3 contexts*: interpolated Kneser-Ney over the last three bytes, counted on all of the same
  {len(trainer.corpus.training):,} training bytes.
- *gzip -9*: 8 x (size of `gzip -9 -n` of the held-out bytes, header included) / (number of held-out bytes). It has seen
  no training text.
- The recurrent model is scored on 16 pieces side by side, each from the zero state; every byte counts once.

![bits per byte over the steps](language.png)

What it writes after `def `, at temperature 0.6:

```python
{language.sample}
```

Files held out: {_files(trainer.corpus)}.

## Forecast: sunspots

Root mean squared error of the yearly sunspot number over 1950 - 2008, and against the naive forecast. Learnt on
1700 - 1919; 1920 - 1949 chose when to stop and how strong the ridge is. *naive*: as in the last year seen.
*one cycle ago*: as eleven years before. *AR(9)*: linear in the last nine years, least squares.

| | {' | '.join(f'{h} year{"s" if h > 1 else ""} ahead' for h in HORIZONS)} |
|---|{'---|' * len(HORIZONS)}
{newline.join(forecast_lines(errors))}

![forecasts](forecast.png)

## The weights

```python
from scripts.main_job.language_model import saved_model    # from the root of the repository

model = saved_model("{folder.as_posix()}/weights.npz")
print(model.write(b"class ", 300).decode(errors="replace"))
```
"""


def _what_was_trained(trainer: Trainer) -> str:
    s = trainer.settings
    read = s.steps * s.rows * s.window
    return (
        f"{s.layers} layer(s) of `{s.cell}` with {s.hidden_size} units on an embedding of {s.width}, "
        f"{sum(w.size for w in trainer.model.parameters.values()):,} weights. {s.steps} steps of truncated "
        f"backpropagation through {s.window} bytes x {s.rows} lanes = {read:,} bytes, "
        f"{read / len(trainer.corpus.training):.2f} times the training text. "
        f"Adam, peak rate {s.rate}, norm clipped at {s.clip}."
    )


def _files(corpus: Corpus) -> str:
    return ", ".join(f"`{name}`" for name in corpus.held_out_files)
