"""What an answer of ANAF's that is not what was asked for means, and what a person is told.

`core.spv` reads the answers and raises these; it hands both names on, so that
callers need only that module.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from appliance.core.errors import ArhivarError
from appliance.core.sentence import Sentence


class FaultKind(StrEnum):
    """What a caller can do about an answer that is not what was asked for."""

    TRANSIENT = "transient"  # try again later
    QUOTA_LIST = "quota_list"  # no more lists for this company until the next day in Romania
    QUOTA_MESSAGE = "quota_message"  # no more downloads of this message until the next day
    PERMISSION = "permission"  # the certificate has no right to this CIF: stop, tell the person
    TOKEN = "token"  # noqa: S105 - the access token is missing, expired or not for this service
    EXPIRED = "expired"  # the 60 days are over: final
    GONE = "gone"  # ANAF knows no such message: final
    OUR_BUG = "our_bug"  # the request itself was wrong
    USE_PAGES = "use_pages"  # more than 500: ask the paged list
    END_OF_PAGES = "end_of_pages"
    CLOCK = "clock"  # the window does not fit ANAF's clock: adjust and ask again


class SpvFault(ArhivarError):
    """ANAF did not give what was asked for; `kind` says what to do, `answer` what it said."""

    def __init__(
        self,
        kind: FaultKind,
        answer: str = "",
        *,
        server_time: datetime | None = None,
        why: tuple[str, str] | None = None,
    ) -> None:
        ro, en = why or _FAULTS[kind]
        said_ro = f" Răspunsul ANAF: „{answer}”." if answer else ""
        said_en = f" (ANAF said: {answer!r})" if answer else ""
        super().__init__(Sentence(ro + said_ro, en + said_en))
        self.kind = kind
        self.answer = answer
        self.server_time = server_time


_FAULTS: Mapping[FaultKind, tuple[str, str]] = {
    FaultKind.TRANSIENT: (
        "ANAF nu a putut răspunde acum; încercăm din nou mai târziu.",
        "ANAF could not answer now; trying again later",
    ),
    FaultKind.QUOTA_LIST: (
        "ANAF nu mai dă astăzi liste de mesaje pentru această firmă; continuăm mâine.",
        "ANAF gives no more message lists for this company today; going on tomorrow",
    ),
    FaultKind.QUOTA_MESSAGE: (
        "Mesajul a fost descărcat astăzi de prea multe ori; îl descărcăm mâine.",
        "this message was downloaded too often today; downloading it tomorrow",
    ),
    FaultKind.PERMISSION: (
        "Certificatul folosit nu are acest drept în SPV; titularul trebuie să îl ceară la ANAF.",
        "the certificate in use lacks this right in SPV; its holder has to ask ANAF for it",
    ),
    FaultKind.TOKEN: (
        "ANAF nu mai acceptă autorizarea; reautorizează accesul cu certificatul.",
        "ANAF does not accept the authorisation any more; authorise again with the certificate",
    ),
    FaultKind.EXPIRED: (
        "Mesajul nu mai poate fi descărcat, au trecut 60 de zile; cere-l la ANAF.",
        "the message cannot be downloaded any more, its 60 days are over; ask ANAF for it",
    ),
    FaultKind.GONE: (
        "ANAF nu mai are acest mesaj; verifică-l în SPV.",
        "ANAF has no such message any more; check it in SPV",
    ),
    FaultKind.OUR_BUG: (
        "ANAF nu a înțeles cererea; trimite această eroare celor care întrețin Arhivar.",
        "ANAF did not understand the request; send this error to the maintainers of Arhivar",
    ),
    FaultKind.USE_PAGES: (
        "Lista are peste 500 de mesaje; se cere pe pagini.",
        "the list has more than 500 messages; asking for it page by page",
    ),
    FaultKind.END_OF_PAGES: (
        "Lista nu mai are pagini; o citim de la început.",
        "the list has no more pages; reading it from the start",
    ),
    FaultKind.CLOCK: (
        "Ceasul serverului diferă de cel al ANAF; verifică sincronizarea orei.",
        "the clock of this server differs from ANAF's; check its time synchronisation",
    ),
}

# Of what comes and goes, what a person is told besides that it is tried again.
NOTHING = (
    "ANAF a trimis un răspuns gol; încercăm din nou singuri.",
    "ANAF sent an empty answer; it is tried again by itself",
)
BROKEN = (
    "Răspunsul ANAF a venit incomplet sau stricat; încercăm din nou singuri.",
    "ANAF's answer came cut off or broken; it is tried again by itself",
)
REFUSED_ONCE = (
    "ANAF a refuzat de data aceasta autorizarea; încercăm din nou singuri.",
    "ANAF refused the authorisation this time; it is tried again by itself",
)
STRANGE = (
    "ANAF a răspuns cu ceva ce nu cunoaștem; încercăm din nou singuri.",
    "ANAF answered something that we do not know; it is tried again by itself",
)
TOO_MANY = (
    "ANAF spune că sunt prea multe apeluri pe minut; continuăm singuri, mai rar.",
    "ANAF says that there are too many calls a minute; it goes on by itself, more slowly",
)
A_PAGE = (
    "ANAF a trimis o pagină web în loc de date; încercăm din nou singuri.",
    "ANAF sent a web page instead of data; it is tried again by itself",
)
PAGES: tuple[tuple[re.Pattern[str], tuple[str, str]], ...] = (
    (
        re.compile(r"mentenan", re.IGNORECASE),
        (
            "SPV este în mentenanță la ANAF; încercăm din nou singuri.",
            "SPV is under maintenance at ANAF; it is tried again by itself",
        ),
    ),
    (
        re.compile(r"support id|requested url was rejected", re.IGNORECASE),
        (
            "Filtrul de protecție al ANAF a respins apelul; încercăm din nou singuri.",
            "ANAF's protective filter rejected the call; it is tried again by itself",
        ),
    ),
)
NO_SERVICE = (
    "ANAF refuză aplicației accesul la RO e-Factura; verifică la ANAF că aplicația are bifat "
    "serviciul „E-Factura”, apoi reautorizează.",
    "ANAF refuses this application the service RO e-Factura; check at ANAF that the application "
    "is ticked for “E-Factura”, then authorise again",
)
