"""What teaches: run, and import-batch, which brings a waiting run its replies."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distill.commands.llm import connector, llm_config, make_meter
from distill.llm.connection import LLMConfig
from indexes.commands.console import console, messages
from indexes.commands.options import DataDir, open_paths
from indexes.encoder_files import DEFAULT_ENCODER
from indexes.paths import DataPaths
from indexes.progress import ProgressBars

if TYPE_CHECKING:
    from distill.run import RunConfig

_REPLY_TOKENS = 400  # an order of 20 passages takes 100


def run(
    corpus: str,
    name: Annotated[str, typer.Option(help="The new encoder's name; the run's too.")],
    questions: Annotated[Path | None, typer.Option(help="questions.jsonl[.gz]; split 'train' trains.")] = None,
    write_questions: Annotated[int, typer.Option(min=0, help="Have the LLM write so many questions.")] = 0,
    like: Annotated[
        Path | None, typer.Option(help="3 to 20 real questions that show the writer how people ask.")
    ] = None,
    style: Annotated[list[str] | None, typer.Option(help="question, keywords, claim; again for more.")] = None,
    pair_share: Annotated[float, typer.Option(min=0, max=1, help="Share of questions over two passages.")] = 0.25,
    topic_share: Annotated[
        float, typer.Option(min=0, max=1, help="With --like: share of the others written from rare words alone.")
    ] = 2 / 3,
    log: Annotated[Path | None, typer.Option(help="Questions of live users, which train too.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="At most so many training questions (0: all).")] = 0,
    retrieval: Annotated[
        str, typer.Option(help="What finds the candidates: auto, fused, dense, lexical, union.")
    ] = "auto",
    n_candidates: Annotated[int, typer.Option(min=2, max=100, help="Passages the LLM ranks per question.")] = 10,
    n_scored: Annotated[int, typer.Option(min=2, max=100, help="Passages the ranker scores per question.")] = 50,
    rounds: Annotated[
        int, typer.Option(min=1, max=5, help="2: the taught retriever finds again, the LLM ranks what is new.")
    ] = 1,
    teacher: Annotated[str, typer.Option(help="'none': no LLM, a free control (see --control).")] = "",
    control: Annotated[
        str, typer.Option(help="With --teacher none: 'ranker' (untrained) or 'fused' order.")
    ] = "ranker",
    rankings: Annotated[Path | None, typer.Option(help="Orders made elsewhere, in place of the LLM's.")] = None,
    votes: Annotated[Path | None, typer.Option(help="People's orders, which count beside the LLM's, or alone.")] = None,
    mode: Annotated[str, typer.Option(help="listwise, listwise-3 (shuffles), best-of, pairwise, auto.")] = "listwise",
    insist: Annotated[bool, typer.Option("--insist", help="Use a teacher whose assessment says not to.")] = False,
    positives: Annotated[str, typer.Option(help="Known positives: none, or first (also without an LLM).")] = "none",
    ranker: Annotated[str, typer.Option(help="late-interaction, cross-encoder or auto.")] = "late-interaction",
    ranker_base: Annotated[str, typer.Option(help="Folder or hub name of the cross-encoder to begin with.")] = "",
    ranker_loss: Annotated[
        str, typer.Option(help="With full: listmle, p-listmle, listnet, ranknet, lambda, adr-mse.")
    ] = "listmle",
    ranker_train: Annotated[str, typer.Option(help="head (its weights of three signals) or full.")] = "head",
    method: Annotated[str, typer.Option(help="intermediate, direct, contrastive or pseudo-label.")] = "intermediate",
    train: Annotated[str, typer.Option(help="query (an encoder for questions), full (both sides) or lora.")] = "query",
    objective: Annotated[
        str, typer.Option(help="Of stage 2: margin-mse (margins of the ranker's scores) or kl (as a distribution).")
    ] = "margin-mse",
    passage_weights: Annotated[
        str, typer.Option(help="idf: rare words count more in a passage's vector; none: with query, vectors stay.")
    ] = "idf",
    base: Annotated[str, typer.Option(envvar="ENCODER", help="The encoder to teach.")] = DEFAULT_ENCODER,
    concurrency: Annotated[int, typer.Option(min=0, max=256, help="LLM requests at a time (0: 8, embedded: 1).")] = 0,
    budget: Annotated[str, typer.Option(help="Stop before this is passed: '2.50 usd' or '200000 tokens'.")] = "",
    reply_tokens: Annotated[
        int, typer.Option(min=50, help="Longest reply of the LLM; those that think aloud need thousands.")
    ] = _REPLY_TOKENS,
    batch: Annotated[
        bool, typer.Option("--batch", help="Write requests to files for a provider's batch service; see import-batch.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print calls, tokens, cost and time.")] = False,
    report_to: Annotated[str, typer.Option(help="tensorboard or trackio, to follow the training.")] = "none",
    until: Annotated[str, typer.Option(help="Stop after this stage; the same command goes on later.")] = "verdict",
    seed: Annotated[int, typer.Option(help="Of sampling, shuffling and training.")] = 13,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
    progress: Annotated[
        Path | None, typer.Option(help="A file that always says where the run is, for programs that watch it.")
    ] = None,
    data_dir: DataDir = Path("data"),
) -> None:
    """Teach a retriever for CORPUS: questions → candidates → teacher's orders → ranker → retriever → verdict.

    The LLM is the endpoint of OPENAI_BASE_URL / OPENAI_API_KEY (model: LLM_MODEL), or the embedded one (LOCAL_LLM).
    A run that was stopped goes on when the same command is given again.
    """
    from distill.candidates import RETRIEVALS
    from distill.pipeline import run_distillation
    from distill.progress_file import ProgressFile
    from distill.run import STAGES, Event, RunConfig

    if bool(questions) == bool(write_questions):
        raise typer.BadParameter("give either --questions FILE or --write-questions N")
    if teacher not in ("", "none"):
        raise typer.BadParameter(f"--teacher takes 'none' (an LLM is named by LLM_MODEL); got '{teacher}'")
    if teacher and rankings:
        raise typer.BadParameter("--teacher none and --rankings exclude each other")
    if teacher and method in ("direct", "contrastive") and not votes and positives == "none":
        raise typer.BadParameter(
            f"--method {method} learns from orders alone, and with --teacher none there are none: add --votes FILE or "
            "--positives first"
        )
    if ranker_loss != "listmle" and ranker_train == "head":
        raise typer.BadParameter(
            "--ranker-loss is of --ranker-train full; the head is fitted to the first places alone"
        )
    llm = llm_config()
    config = RunConfig(
        name=name,
        corpus=corpus,
        base=base,
        questions=_resolved(questions),
        log=_resolved(log),
        n_written=write_questions,
        like=_resolved(like),
        styles=tuple(_one_of("--style", each, _styles()) for each in style or ()),
        pair_share=pair_share,
        topic_share=topic_share,
        limit=limit,
        retrieval=_one_of("--retrieval", retrieval, ("auto", *RETRIEVALS)),
        n_candidates=n_candidates,
        n_scored=n_scored,
        rounds=rounds,
        teacher=teacher or ("file" if rankings else llm.name),
        control=_one_of("--control", control, ("ranker", "fused")),
        rankings=_resolved(rankings),
        votes=_resolved(votes),
        mode=mode,
        insist=insist,
        positives=_one_of("--positives", positives, ("none", "first")),
        ranker=_one_of("--ranker", ranker, ("late-interaction", "cross-encoder", "auto")),
        ranker_base=ranker_base,
        ranker_loss=_one_of("--ranker-loss", ranker_loss, _losses()),
        ranker_train=_one_of("--ranker-train", ranker_train, ("head", "full")),
        method=_one_of("--method", method, ("intermediate", "direct", "contrastive", "pseudo-label")),
        train=_one_of("--train", train, ("full", "query", "lora")),
        objective=_one_of("--objective", objective, ("margin-mse", "kl")),
        passage_weights=_one_of("--passage-weights", passage_weights, ("none", "idf")),
        seed=seed,
    )
    paths = open_paths(data_dir)
    if dry_run:
        _print_estimate(config, llm, paths)
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends it gently, by hand or not: all is kept
    meter = make_meter(llm, paths, budget, reply_tokens)
    watched = ProgressFile(progress, meter.summary) if progress else None
    with ProgressBars(messages) as bars, watched or nullcontext():

        def report(event: Event) -> None:
            if event.remark and not event.total:
                bars.say(event.remark)
            bars.show(event.remark or event.stage, event.done, event.total)
            if watched:
                watched(event)

        def say(text: str) -> None:
            bars.say(text)
            if watched:
                watched.say(text)

        batch_file = paths.run(name) / "batch.jsonl" if batch else None
        connect = connector(llm, paths, say, concurrency, meter, reply_tokens, batch_file)
        metrics = run_distillation(
            paths, config, connect, report, until=_one_of("--until", until, STAGES), report_to=report_to
        )
    if as_json:
        sys.stdout.write(json.dumps(metrics, ensure_ascii=False, indent=2) + "\n")
    elif metrics:
        from distill.verdict.report import print_report

        print_report(metrics, console)
        place = paths.encoder(name)
        console.print(f"The encoder is in {place}; the page offers it at once.", markup=False, soft_wrap=True)


def _print_estimate(config: RunConfig, llm: LLMConfig, paths: DataPaths) -> None:
    from distill.estimating import estimate, price_of

    found = estimate(paths, config, price_of(llm, paths), is_embedded=llm.is_embedded)
    cost = "at a price that is not known" if found.cost is None else f"for about {found.cost:.2f} US dollars"
    time = "" if found.seconds is None else f", in about {found.seconds / 60:.0f} minutes on two cores"
    console.print(
        f"About {found.calls:,} calls of the LLM would read {found.prompt_tokens:,} tokens and write "
        f"{found.reply_tokens:,}, {cost}{time}. Nothing was asked.",
        markup=False,
        soft_wrap=True,
    )


def _resolved(file: Path | None) -> str:
    return str(file.resolve()) if file else ""


def _one_of(option: str, given: str, known: tuple[str, ...]) -> Any:
    if given not in known:
        raise typer.BadParameter(f"{option} takes one of {', '.join(known)}; got '{given}'")
    return given


def _styles() -> tuple[str, ...]:
    from distill.questions.prompts import STYLES

    return STYLES


def _losses() -> tuple[str, ...]:
    from distill.ranker.listwise import LOSSES

    return tuple(LOSSES)


def import_batch(file: Path, data_dir: DataDir = Path("data")) -> None:
    """Take the replies in FILE, a batch service's output, so that the run that asked for them goes on."""
    from distill.llm.batch_files import import_batch as take
    from distill.llm.reply_cache import ReplyCache

    taken = take(file, ReplyCache(open_paths(data_dir).llm_cache))
    console.print(taken.sentence, markup=False, soft_wrap=True)
