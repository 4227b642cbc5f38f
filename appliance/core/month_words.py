"""What a month's page and its proof say: the verdict, the gaps, the ages, in both languages."""

from __future__ import annotations

from datetime import datetime

from appliance.core.counts import grouped, romanian_form
from appliance.core.sentence import Sentence
from appliance.core.times import BUCHAREST

# For 1; for 2 to 19 and what ends so; for the rest, which takes "de". Then English.
_COUNTED: dict[str, tuple[str, str, str, str, str]] = {
    "queued": (
        "Un mesaj așteaptă să fie adus din SPV.",
        "{n} mesaje așteaptă să fie aduse din SPV.",
        "{n} de mesaje așteaptă să fie aduse din SPV.",
        "One message waits to be fetched from SPV.",
        "{n} messages wait to be fetched from SPV.",
    ),
    "not_allowed": (
        "ANAF nu dă dreptul la un mesaj: verifică drepturile certificatului în SPV.",
        "ANAF nu dă dreptul la {n} mesaje: verifică drepturile certificatului în SPV.",
        "ANAF nu dă dreptul la {n} de mesaje: verifică drepturile certificatului în SPV.",
        "ANAF gives no right to one message: check the rights of the certificate in SPV.",
        "ANAF gives no right to {n} messages: check the rights of the certificate in SPV.",
    ),
    "expired": (
        "Un mesaj nu mai poate fi adus, au trecut 60 de zile: cere-l la ANAF.",
        "{n} mesaje nu mai pot fi aduse, au trecut 60 de zile: cere-le la ANAF.",
        "{n} de mesaje nu mai pot fi aduse, au trecut 60 de zile: cere-le la ANAF.",
        "One message can no longer be fetched, 60 days are over: ask ANAF for it.",
        "{n} messages can no longer be fetched, 60 days are over: ask ANAF for them.",
    ),
    "quarantined": (
        "Un mesaj este pus deoparte, pentru că numește altă firmă: îl verifică administratorul.",
        "{n} mesaje sunt puse deoparte, pentru că numesc altă firmă: le verifică administratorul.",
        "{n} de mesaje sunt puse deoparte, pentru că numesc altă firmă: le verifică "
        "administratorul.",
        "One message is set aside because it names another company: the administrator checks it.",
        "{n} messages are set aside because they name another company: the administrator "
        "checks them.",
    ),
    "no_document": (
        "Un mesaj arhivat nu are document: administratorul rulează „arhivar reindex”.",
        "{n} mesaje arhivate nu au document: administratorul rulează „arhivar reindex”.",
        "{n} de mesaje arhivate nu au document: administratorul rulează „arhivar reindex”.",
        "One archived message has no document: the administrator runs `arhivar reindex`.",
        "{n} archived messages have no document: the administrator runs `arhivar reindex`.",
    ),
    "no_file": (
        "Un dosar lipsește din arhivă: administratorul rulează „arhivar check”.",
        "{n} dosare lipsesc din arhivă: administratorul rulează „arhivar check”.",
        "{n} de dosare lipsesc din arhivă: administratorul rulează „arhivar check”.",
        "One folder is missing from the archive: the administrator runs `arhivar check`.",
        "{n} folders are missing from the archive: the administrator runs `arhivar check`.",
    ),
    "unreadable": (
        "Un document nu a putut fi citit întreg: verifică-l manual.",
        "{n} documente nu au putut fi citite întregi: verifică-le manual.",
        "{n} de documente nu au putut fi citite întregi: verifică-le manual.",
        "One document could not be read whole: check it by hand.",
        "{n} documents could not be read whole: check them by hand.",
    ),
    "signature": (
        "La un document semnătura ANAF lipsește sau nu este valabilă.",
        "La {n} documente semnătura ANAF lipsește sau nu este valabilă.",
        "La {n} de documente semnătura ANAF lipsește sau nu este valabilă.",
        "ANAF's signature of one document is missing or not valid.",
        "ANAF's signatures of {n} documents are missing or not valid.",
    ),
    "pending": (
        "Un document așteaptă decizia clientului.",
        "{n} documente așteaptă decizia clientului.",
        "{n} de documente așteaptă decizia clientului.",
        "One document waits for the client's decision.",
        "{n} documents wait for the client's decision.",
    ),
    "approved": (
        "Un document aprobat nu este încă înregistrat.",
        "{n} documente aprobate nu sunt încă înregistrate.",
        "{n} de documente aprobate nu sunt încă înregistrate.",
        "One approved document is not recorded yet.",
        "{n} approved documents are not recorded yet.",
    ),
}
_ALONE: dict[str, Sentence] = {
    "running": Sentence("Luna nu s-a încheiat încă.", "The month has not ended yet."),
    "unlisted": Sentence(
        "De la sfârșitul lunii lista din SPV nu a fost citită încă întreagă: pot lipsi mesaje.",
        "The list in SPV has not been read whole since the month ended: messages may be missing.",
    ),
    "unseen": Sentence(
        "SPV a fost citit prima dată când ANAF nu mai arăta începutul lunii: mesajele de atunci "
        "nu se pot ști.",
        "SPV was first read when ANAF no longer showed the beginning of the month: its messages "
        "of then cannot be known.",
    ),
}

NOT_YET = Sentence(
    "Luna nu a început încă. Alege una care a început.",
    "the month has not begun; choose one that has",
)
NO_PROOF = Sentence(
    "Dovada acestei luni nu a fost făcută încă. Cere-o din pagina lunii.",
    "no proof of this month has been made yet; ask for it on the month's page",
)


def gap_sentence(kind: str, number: int) -> Sentence:
    """Return what a gap of this kind (`store.months.GAPS`) means and what to do about it."""
    if kind in _ALONE:
        return _ALONE[kind]
    one, few, many, single, several = _COUNTED[kind]
    ro = (one, few, many)[romanian_form(number)]
    en = single if number == 1 else several
    return Sentence(ro.format(n=grouped(number, "ro")), en.format(n=grouped(number, "en")))


def verdict(*, fetched: bool, complete: bool, running: bool, flawed: bool) -> Sentence:
    """Return the month in one sentence. `flawed`: something in it has to be looked at."""
    if running:
        return Sentence("Luna este în curs", "The month is under way")
    if not fetched:
        return Sentence("Luna nu este completă", "The month is not complete")
    if not complete:
        return Sentence(
            "Totul este în arhivă; mai este de decis sau de înregistrat",
            "Everything is in the archive; some is still to be decided or recorded",
        )
    if flawed:
        return Sentence(
            "Luna este completă; unele documente sunt de verificat",
            "The month is complete; some documents are to be checked",
        )
    return Sentence("Luna este completă", "The month is complete")


def days_sentence(days: int) -> Sentence:
    """Return how long ANAF still keeps a message."""
    if days == 0:
        return Sentence("ultima zi", "the last day")
    ro = ("mai este o zi", f"mai sunt {days} zile", f"mai sunt {days} de zile")
    return Sentence(ro[romanian_form(days)], "one day left" if days == 1 else f"{days} days left")


def age_sentence(days: int) -> Sentence:
    """Return how long something has waited."""
    if days == 0:
        return Sentence("de azi", "since today")
    ro = ("de o zi", f"de {days} zile", f"de {days} de zile")
    return Sentence(ro[romanian_form(days)], "one day" if days == 1 else f"{days} days")


def romanian_day(moment: datetime) -> str:
    """Return 24.11.2026, the day that it was in Romania."""
    return moment.astimezone(BUCHAREST).strftime("%d.%m.%Y")


def romanian_minute(moment: datetime) -> str:
    """Return 24.11.2026, 12:00."""
    return moment.astimezone(BUCHAREST).strftime("%d.%m.%Y, %H:%M")
