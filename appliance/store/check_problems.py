"""What `arhivar check` may find: each kind of problem in a sentence, with the next step."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.core.sentence import Sentence


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is not as it must be: what kind, of which object, in a sentence."""

    kind: str
    object: str
    sentence: Sentence


# kind: (what is wrong, what to do), with {o} for the object and {d} for the detail.
SENTENCES: dict[str, tuple[str, str]] = {
    "missing_folder": (
        "Dosarul {o} lipsește din arhivă. Restaurează-l din copia de siguranță.",
        "the folder {o} is missing from the archive; restore it from a backup",
    ),
    "missing_file": (
        "Fișierul {o} lipsește din arhivă. Restaurează-l din copia de siguranță.",
        "the file {o} is missing from the archive; restore it from a backup",
    ),
    "wrong_size": (
        "Fișierul {o} are altă mărime decât la primire ({d}). Restaurează-l din copia de "
        "siguranță.",
        "the file {o} has another size than when it came ({d}); restore it from a backup",
    ),
    "wrong_bytes": (
        "Fișierul {o} are alt conținut decât la primire. Restaurează-l din copia de siguranță.",
        "the file {o} has other content than when it came; restore it from a backup",
    ),
    "unreadable_file": (
        "Fișierul {o} nu poate fi citit ({d}). Verifică discul și drepturile.",
        "the file {o} cannot be read ({d}); check the disk and the permissions",
    ),
    "extra_file": (
        "Fișierul {o} nu aparține niciunui document. Mută-l din arhivă.",
        "the file {o} belongs to no document; move it out of the archive",
    ),
    "extra_folder": (
        "Dosarul {o} nu are document în baza de date. Rulează „arhivar reindex”.",
        "the folder {o} has no document in the database; run `arhivar reindex`",
    ),
    "stray": (
        "{o} nu are ce căuta în arhivă. Mută-l în altă parte.",
        "{o} does not belong in the archive; move it elsewhere",
    ),
    "old_temporary": (
        "{o} a rămas de la o scriere întreruptă. Serviciul sync îl șterge la pornire.",
        "{o} was left by an interrupted write; the sync service removes it when it starts",
    ),
    "manifest": (
        "Manifestul {o} nu corespunde documentului ({d}). Restaurează dosarul din copia de "
        "siguranță.",
        "the manifest {o} does not agree with the document ({d}); restore the folder from a backup",
    ),
    "message_forgotten": (
        "Mesajul {o} așteaptă, dar nimeni nu lucrează la el. Rulează „arhivar fetch”.",
        "message {o} waits and nobody works on it; run `arhivar fetch`",
    ),
    "import_forgotten": (
        "Fișierul {o} dintr-un import așteaptă, dar nimeni nu lucrează la el. Repetă importul.",
        "the file {o} of an import waits and nobody works on it; repeat the import",
    ),
    "message_without_document": (
        "Mesajul {o} este notat ca arhivat, dar documentul lipsește. Rulează „arhivar reindex”.",
        "message {o} is noted as archived but its document is missing; run `arhivar reindex`",
    ),
    "message_without_reason": (
        "Mesajul {o} nu a fost arhivat și nu spune de ce ({d}). Rulează „arhivar fetch”.",
        "message {o} was not archived and does not say why ({d}); run `arhivar fetch`",
    ),
    "message_state": (
        "Mesajul {o} are o stare necunoscută ({d}). Actualizează Arhivar.",
        "message {o} has an unknown state ({d}); upgrade Arhivar",
    ),
    "document_message": (
        "Documentul {o} există, dar mesajul lui nu este notat ca arhivat ({d}). Anunță "
        "administratorul.",
        "document {o} exists but its message is not noted as archived ({d}); tell the "
        "administrator",
    ),
    "event_missing": (
        "Documentul {o} nu are niciun eveniment. Restaurează baza de date din copia de siguranță.",
        "document {o} has no event; restore the database from a backup",
    ),
    "event_status": (
        "Documentul {o} are altă stare decât ultimul eveniment ({d}). Restaurează baza de date "
        "din copia de siguranță.",
        "document {o} has another status than its last event ({d}); restore the database from "
        "a backup",
    ),
    "event_gap": (
        "Evenimentele documentului {o} nu se leagă ({d}). Restaurează baza de date din copia de "
        "siguranță.",
        "the events of document {o} do not follow from one another ({d}); restore the database "
        "from a backup",
    ),
    "event_audit": (
        "Jurnalul de audit nu pomenește toate schimbările documentului {o} ({d}). Restaurează "
        "baza de date din copia de siguranță.",
        "the audit log does not tell of every change of document {o} ({d}); restore the "
        "database from a backup",
    ),
    "document_value": (
        "Documentul {o} are o valoare necunoscută ({d}). Restaurează baza de date din copia de "
        "siguranță.",
        "document {o} has an unknown value ({d}); restore the database from a backup",
    ),
    "not_rendered": (
        "Documentul {o} nu are PDF și nimeni nu lucrează la el. Repornește serviciul sync.",
        "document {o} has no PDF and nobody works on it; restart the sync service",
    ),
    "folder_name": (
        "Numele de dosar {o} apare de două ori ({d}). Anunță administratorul.",
        "the folder name {o} is there twice ({d}); tell the administrator",
    ),
    "folder_count": (
        "Dosarul {o} numără greșit documentele ({d}). Anunță administratorul.",
        "the folder {o} counts its documents wrongly ({d}); tell the administrator",
    ),
    "stale_lease": (
        "Lucrarea {o} este blocată din {d}. Repornește serviciul sync.",
        "the job {o} has been stuck since {d}; restart the sync service",
    ),
    "parked_without_reason": (
        "Lucrarea {o} a fost oprită și nu spune de ce. Verifică jurnalul serviciului sync.",
        "the job {o} was parked and does not say why; look into the log of the sync service",
    ),
    "orphan_job": (
        "Lucrarea {o} este pentru ceva ce nu există. Anunță administratorul.",
        "the job {o} is for something that does not exist; tell the administrator",
    ),
    "audit": ("Jurnalul de audit: {d}", "the audit log: {d}"),
    "database_missing": (
        "Baza de date {o} lipsește, dar arhiva are dosare. Restaurează copia de siguranță sau "
        "rulează „arhivar migrate”, apoi „arhivar reindex”.",
        "the database {o} is missing but the archive holds folders; restore a backup, or run "
        "`arhivar migrate` and then `arhivar reindex`",
    ),
    "database": (
        "Baza de date este stricată ({d}). Restaurează copia de siguranță.",
        "the database is damaged ({d}); restore a backup",
    ),
}


def problem(kind: str, of: str, detail: object = "") -> Problem:
    """Return the problem of that kind, with its object and detail in the sentence."""
    ro, en = SENTENCES[kind]
    return Problem(kind, of, Sentence(ro.format(o=of, d=detail), en.format(o=of, d=detail)))
