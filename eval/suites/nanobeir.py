"""NanoBEIR: 13 of BEIR's collections cut to 50 queries and some thousand documents each."""

from __future__ import annotations

from .spec import HubData, Suite, Task

REPO, REVISION = "sentence-transformers/NanoBEIR-en", "main"

# name, the hub's split
_TASKS = {
    "climate-fever": "NanoClimateFEVER",
    "dbpedia": "NanoDBPedia",
    "fever": "NanoFEVER",
    "fiqa": "NanoFiQA2018",
    "hotpotqa": "NanoHotpotQA",
    "msmarco": "NanoMSMARCO",
    "nfcorpus": "NanoNFCorpus",
    "nq": "NanoNQ",
    "quora": "NanoQuoraRetrieval",
    "scidocs": "NanoSCIDOCS",
    "arguana": "NanoArguAna",
    "scifact": "NanoSciFact",
    "touche2020": "NanoTouche2020",
}

SUITE = Suite(
    "nanobeir",
    "NanoBEIR: 13 small samples of BEIR's collections",
    [
        Task(
            f"nano-{name}",
            HubData(REPO, REVISION, ("corpus", split), ("queries", split), ("qrels", split)),
            drop_own_id=True,
        )
        for name, split in _TASKS.items()
    ],
    protocol=(
        "The sets' own text, which has the title in it; every judgement is relevant. A document "
        "with the query's own id is dropped, as in BEIR. The mean is over the 13. The encoder's "
        "own lengths and prompts."
    ),
)
