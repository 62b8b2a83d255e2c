# How tests/homes/2026-11-28 was made, from a checkout of dbdb98d in /work/wt-oldhome-before. See README.md.
set -e
cd /work/wt-oldhome-before
export PYTHONPATH=$PWD LUTHIER_HOME=/tmp/oldhome/home HF_HUB_OFFLINE=1
luthier="python -P -m tui.cli" # of the environment's Python
# /tmp/oldhome/work: tiny (write_tiny_model, hidden=128), sailors.jsonl (write_conversations, 40), and recipes like captain.toml:
# certify = false, global_batch 4, micro_batch 2, r = 4, heldout at_least 8, evaluation times 2, checkpoints every_steps 4
# (whole: method = "full", rate 0.001; halted: 400 epochs; lost: rate 1e30; sails: rates [0.01, 0.02]; the others: 1 epoch, 0.01).
cd /tmp/oldhome/work
$luthier models import tiny --name tiny
for run in captain whole lost sails; do $luthier train $run.toml --follow || true; done
$luthier merge captain
$luthier train halted.toml && sleep 20 && $luthier stop halted
$luthier models import builtin
$luthier endpoints add elsewhere http://127.0.0.1:9/v1

# the chats
python - <<'END'
"""Two chats and their votes, written by serve.chats of dbdb98d."""
import sys, time
from jobs.errors import LuthierError
from jobs.job import find
from serve.chats.journal import Journal
from serve.chats.store import Record, Vote
from serve.chats.turns import ChatSettings, Failed, Halted, Speaker, new_id
from serve.client import Delta, Sampling
from tests.serve.chat_writing import ask, complete, new_chat

captain, whole = find("captain"), find("whole")
home = captain.directory.parents[1]
base = Speaker("base", "base", path=str(home / "models/tiny"))
tuned = Speaker("captain", "tuned", run=captain.id, path=str(captain.directory / "adapter"))
hosted = Speaker("gpt", "hosted", where="elsewhere")
journal = Journal()
record = Record(journal)

def turn(chat, prompt, texts):
    answers = ask(chat, prompt)
    record.begun(chat, answers)
    for answer, text in zip(answers, texts):
        if isinstance(text, LuthierError):
            answer.state = Failed(text)
        elif text.endswith("…"):
            answer.add(Delta(text)); answer.state = Halted(0.1, 0.4)
        else:
            complete(answer, text)
        record.ended(answer)
    return answers

def vote(chat, answers, verdict, choice, blind, reason=""):
    cast = Vote(new_id(), answers[0].turn.id, tuple(a.id for a in answers), verdict, choice and choice.id, blind, reason)
    record.voted(chat, cast)

first = new_chat(base, tuned, settings=ChatSettings("Speak as a captain.", Sampling()))
one = turn(first, "Where lies the harbour?", ["It is a city in France.", "Aye, north by east, past the anchor."])
vote(first, one, "worse", one[1], True, "a slip of the finger")
vote(first, one, "better", one[1], True, "knows the way")
two = turn(first, "And the wind?\nSay it short.", ["The wind is a movement of air.", "Aye, from the west."])
vote(first, two, "tie", None, True)
second = new_chat(tuned, hosted)
three = turn(second, "Name a rope – in Grüße aus Köln.", ["A rope named tide …", LuthierError("No answer", "elsewhere did not answer.", "Is it up?")])
four = turn(second, "Count the stars", ["One, two, three.", "There are 9,096."])
vote(second, four, "bad", None, False)
assert journal.close()
END

# the server
python - <<'END'
"""A server's folder as serve.launch of dbdb98d orders it and its supervisor would have left it: no vLLM was started."""
import time
from jobs.events import EventLog
from jobs.job import create, find
from serve.launch import _order
from serve.planning import ServeOptions, make_plan
captain = find("captain")
options = ServeOptions()
plan = make_plan(captain.directory.parents[1] / "models/tiny", "tiny", [("captain", captain.directory / "adapter", captain.id)], "127.0.0.1", 8123, options)
job = create(_order(plan, options))
for name in ("lock", "output.log"):
    (job.directory / name).touch()
events = EventLog(job.events_path)
events.append("queued", attempt=1)
events.append("started", pid=4000000, shim=4000001, argv=[], slots=[])
events.append("phase", name="loading the model")
events.append("phase", name="ready", port=8123)
events.append("exited", code=0, stopped=True, swept=0)
events.close()
print(job.id, job.state())
END

# the look at the data
python - <<'END'
from pathlib import Path
from jobs.job import wait
from trainer.data.inspection import start
from trainer.recipe import load
job = start(load(Path("captain.toml")))
print(wait(job, 120), job.id, job.state())
END

# the certificate
python - <<'END'
"""A certificate and its job, written by models.certificate of dbdb98d: nothing was measured."""
import time
from jobs.events import EventLog
from jobs.job import create, find
from jobs.spec import Spec
from models import certificate
from models.certificate import Certificate, Check, Column
captain = find("20261129-0305-captain-5473")
base, adapter, merged = captain.directory.parents[1] / "models/tiny", captain.directory / "adapter", captain.directory / "merged"
SAMPLE = {"file": "heldout.jsonl", "conversations": 8, "turns": 8, "tokens": 105}
checks = [
    Check("exact bytes, base weights", "green", "The base weights of today, to the byte, are what the run used.", 0, 0, 0, "differences"),
    Check("exact bytes, adapter", "green", "The adapter is, to the byte, what the run made.", 0, 0, 0, "differences"),
    Check("token ids", "green", "The server makes the very token ids of training of all 8 prompts.", 0, 0, 0, "of 8 prompts"),
    Check("tokens compared", "amber", "105 tokens were compared; 200 would say more.", 105, 200, 50, "tokens", True),
]
columns = [Column("base", "training", 5.9121, 105), Column("tuned", "training", 3.2899, 105, 3, 8), Column("tuned", "vLLM", 3.2904, 105, 3, 8), Column("merged", "vLLM", 3.2911, 105)]
made = Certificate(captain.id, str(base), str(adapter), str(merged), time.time(), 61.5, SAMPLE, columns, checks, {"torch": "2.13.0+cpu", "vllm": "0.32.0", "device": "cpu"}, certificate.stamps(base, adapter, merged))
certificate.write(captain.directory, made)
job = create(Spec(**certificate.order_for(captain)))
for name in ("lock", "output.log"):
    (job.directory / name).touch()
events = EventLog(job.events_path)
events.append("queued", attempt=1)
events.append("started", pid=4000000, shim=4000001, argv=[], slots=["cpu"])
events.append("result", verdict="amber", reasons=made.reasons, certificate=str(captain.directory / "certificate.json"), seconds=61.5)
events.append("exited", code=0, stopped=False, swept=0)
events.close()
print(job.id, job.state())
END
