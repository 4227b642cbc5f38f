"""Who may what in the portal: every route × every person × own, other and absent objects.

Written down by hand from design.md §3 and §9; nothing of it is asked of the code
under test. A new route is a new line here, else `test_matrix.py` fails.
"""

from __future__ import annotations

from collections.abc import Mapping

PEOPLE = (
    "nobody",
    "ana",  # owner at Alfa
    "bogdan",  # approver at Alfa
    "corina",  # contributor at Alfa
    "dan",  # viewer at Alfa
    "ema",  # approver at Alfa, "doar Emise"
    "elena",  # accountant of Alfa
    "florin",  # accountant of Beta
    "gina",  # administrator
    "horia",  # accountant of Beta and owner of Alfa
    "bianca",  # owner of Beta
)

Table = Mapping[str, Mapping[str, str]]


def table(text: str) -> Table:
    """Read a table: a line of people, then a line for each object with a cell for each person."""
    header, *lines = (line.split() for line in text.strip().splitlines())
    assert tuple(header) == PEOPLE, header
    rows = {" ".join(line[: -len(PEOPLE)]): line[-len(PEOPLE) :] for line in lines}
    assert len(rows) == len(lines), "a row is there twice"
    return {row: dict(zip(PEOPLE, cells, strict=True)) for row, cells in rows.items()}


VISIBLE = table("""
               nobody  ana  bogdan corina  dan   ema  elena florin gina  horia bianca
alfa pending     no    yes    yes    no    yes   no    no     no    no    yes    no
alfa approved    no    yes    yes    no    yes   no    yes    no    yes   yes    no
alfa rejected    no    yes    yes    no    yes   no    no     no    no    yes    no
alfa archived    no    yes    yes    no    yes   no    yes    no    yes   yes    no
alfa issued      no    yes    yes    no    yes   yes   no     no    no    yes    no
alfa uploaded    no    yes    yes    yes   yes   no    no     no    no    yes    no
beta pending     no    no     no     no    no    no    no     no    no    no     yes
beta approved    no    no     no     no    no    no    no     yes   yes   yes    yes
beta rejected    no    no     no     no    no    no    no     no    no    no     yes
beta archived    no    no     no     no    no    no    no     yes   yes   yes    yes
alfa notice      no    yes    yes    no    yes   no    yes    no    yes   yes    no
beta notice      no    no     no     no    no    no    no     yes   yes   yes    yes
alfa grant       no    yes    no     no    no    no    yes    no    yes   yes    no
beta grant       no    no     no     no    no    no    no     yes   yes   yes    yes
""")


# Method and path: the status of each cell. 303 as nobody leads to the log-in page; foreign and
# absent are the same 404. The last of all ends the session.
ROUTES: Mapping[tuple[str, str], Table] = {
    **dict.fromkeys(
        [
            ("GET", "/static/{path}"),
            ("GET", "/healthz"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
-              200    200    200    200    200    200    200    200    200    200    200
        """),
    ),
    **dict.fromkeys(
        [
            ("GET", "/login"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
-              200    303    303    303    303    303    303    303    303    303    303
        """),
    ),
    **dict.fromkeys(
        [
            ("GET", "/activate/{token}"),
            ("GET", "/"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
-              303    303    303    303    303    303    303    303    303    303    303
        """),
    ),
    **dict.fromkeys(
        [
            ("GET", "/certificates"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
-              303    403    403    403    403    403    403    403    200    403    403
        """),
    ),
    **dict.fromkeys(
        [
            ("GET", "/certificates/{fingerprint}"),
            ("POST", "/certificates/{fingerprint}"),
            ("POST", "/certificates/{fingerprint}/remove"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
-              303    403    403    403    403    403    403    403    404    403    403
        """),
    ),
    **dict.fromkeys(
        [
            ("GET", "/activate"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
-              400    400    400    400    400    400    400    400    400    400    400
        """),
    ),
    **dict.fromkeys(
        [
            ("GET", "/clients"),
            ("GET", "/months"),
            ("GET", "/months/json"),
            ("GET", "/spv"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
-              303    403    403    403    403    403    200    200    200    200    403
        """),
    ),
    **dict.fromkeys(
        [
            ("GET", "/clients/{client_uid}"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa           303    303    303    303    303    303    303    404    303    303    404
beta           303    404    404    404    404    404    404    303    303    303    303
absent         303    404    404    404    404    404    404    404    404    404    404
        """),
    ),
    **dict.fromkeys(
        [
            ("GET", "/clients/{client_uid}/pending"),
            ("GET", "/clients/{client_uid}/rejected"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa           303    200    200    200    200    200    403    403    403    200    404
beta           303    404    404    404    404    404    403    403    403    403    200
absent         303    404    404    404    404    404    403    403    403    404    404
        """),
    ),
    **dict.fromkeys(
        [
            ("GET", "/clients/{client_uid}/approved"),
            ("GET", "/clients/{client_uid}/archived"),
            ("GET", "/clients/{client_uid}/notices"),
            ("GET", "/clients/{client_uid}/spv"),
            ("GET", "/clients/{client_uid}/spv/progress"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa           303    200    200    200    200    200    200    404    200    200    404
beta           303    404    404    404    404    404    404    200    200    200    200
absent         303    404    404    404    404    404    404    404    404    404    404
        """),
    ),
    **dict.fromkeys(
        [
            ("GET", "/clients/{client_uid}/import"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa           303    200    200    403    403    200    200    404    200    200    404
beta           303    404    404    403    403    404    404    200    200    200    200
absent         303    404    404    403    403    404    404    404    404    404    404
        """),
    ),
    # A form is no file.
    **dict.fromkeys(
        [
            ("POST", "/clients/{client_uid}/import"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa           303    400    400    403    403    400    400    404    400    400    404
beta           303    404    404    403    403    404    404    400    400    400    400
absent         303    404    404    403    403    404    404    404    404    404    404
        """),
    ),
    **dict.fromkeys(
        [
            ("GET", "/clients/{client_uid}/months"),
            ("GET", "/clients/{client_uid}/months/{month}"),
            ("GET", "/clients/{client_uid}/months/{month}/json"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa           303    200    200    403    200    403    200    404    200    200    404
beta           303    404    404    403    404    404    404    200    200    200    200
absent         303    404    404    403    404    404    404    404    404    404    404
        """),
    ),
    # No proof of that month has been made.
    **dict.fromkeys(
        [
            ("GET", "/clients/{client_uid}/months/{month}/proof"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa           303    404    404    403    404    403    404    404    404    404    404
beta           303    404    404    403    404    404    404    404    404    404    404
absent         303    404    404    403    404    404    404    404    404    404    404
        """),
    ),
    **dict.fromkeys(
        [
            ("POST", "/clients/{client_uid}/months/{month}/proof"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa           303    303    303    403    303    403    303    404    303    303    404
beta           303    404    404    403    404    404    404    303    303    303    303
absent         303    404    404    403    404    404    404    404    404    404    404
        """),
    ),
    **dict.fromkeys(
        [
            ("GET", "/documents/{document_uid}"),
            ("GET", "/documents/{document_uid}/files/{name}"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa pending   303    200    200    404    200    404    404    404    404    200    404
alfa approved  303    200    200    404    200    404    200    404    200    200    404
alfa rejected  303    200    200    404    200    404    404    404    404    200    404
alfa archived  303    200    200    404    200    404    200    404    200    200    404
alfa issued    303    200    200    404    200    200    404    404    404    200    404
alfa uploaded  303    200    200    200    200    404    404    404    404    200    404
beta pending   303    404    404    404    404    404    404    404    404    404    200
beta approved  303    404    404    404    404    404    404    200    200    200    200
beta rejected  303    404    404    404    404    404    404    404    404    404    200
beta archived  303    404    404    404    404    404    404    200    200    200    200
absent         303    404    404    404    404    404    404    404    404    404    404
        """),
    ),
    **dict.fromkeys(
        [
            ("GET", "/documents/{document_uid}/take"),
            ("POST", "/documents/{document_uid}/take"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa pending   303    403    403    403    403    403    404    404    403    403    403
alfa approved  303    403    403    403    403    403    303    404    403    403    403
alfa rejected  303    403    403    403    403    403    404    404    403    403    403
alfa archived  303    403    403    403    403    403    303    404    403    403    403
alfa issued    303    403    403    403    403    403    404    404    403    403    403
alfa uploaded  303    403    403    403    403    403    404    404    403    403    403
beta pending   303    403    403    403    403    403    404    404    403    404    403
beta approved  303    403    403    403    403    403    404    303    403    303    403
beta rejected  303    403    403    403    403    403    404    404    403    404    403
beta archived  303    403    403    403    403    403    404    303    403    303    403
absent         303    403    403    403    403    403    404    404    403    404    403
        """),
    ),
    **dict.fromkeys(
        [
            ("GET", "/documents/{document_uid}/approve"),
            ("GET", "/documents/{document_uid}/reconsider"),
            ("GET", "/documents/{document_uid}/withdraw"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa pending   303    303    303    403    403    404    403    403    403    303    404
alfa approved  303    303    303    403    403    404    403    403    403    303    404
alfa rejected  303    303    303    403    403    404    403    403    403    303    404
alfa archived  303    303    303    403    403    404    403    403    403    303    404
alfa issued    303    303    303    403    403    303    403    403    403    303    404
alfa uploaded  303    303    303    403    403    404    403    403    403    303    404
beta pending   303    404    404    403    403    404    403    403    403    404    303
beta approved  303    404    404    403    403    404    403    403    403    403    303
beta rejected  303    404    404    403    403    404    403    403    403    404    303
beta archived  303    404    404    403    403    404    403    403    403    403    303
absent         303    404    404    403    403    404    403    403    403    404    404
        """),
    ),
    **dict.fromkeys(
        [
            ("GET", "/documents/{document_uid}/reject"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa pending   303    200    200    403    403    404    403    403    403    200    404
alfa approved  303    303    303    403    403    404    403    403    403    303    404
alfa rejected  303    303    303    403    403    404    403    403    403    303    404
alfa archived  303    303    303    403    403    404    403    403    403    303    404
alfa issued    303    200    200    403    403    200    403    403    403    200    404
alfa uploaded  303    200    200    403    403    404    403    403    403    200    404
beta pending   303    404    404    403    403    404    403    403    403    404    200
beta approved  303    404    404    403    403    404    403    403    403    403    303
beta rejected  303    404    404    403    403    404    403    403    403    404    303
beta archived  303    404    404    403    403    404    403    403    403    403    303
absent         303    404    404    403    403    404    403    403    403    404    404
        """),
    ),
    **dict.fromkeys(
        [
            ("GET", "/documents/{document_uid}/return"),
            ("GET", "/documents/{document_uid}/record"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa pending   303    403    403    403    403    403    404    404    403    403    403
alfa approved  303    403    403    403    403    403    200    404    403    403    403
alfa rejected  303    403    403    403    403    403    404    404    403    403    403
alfa archived  303    403    403    403    403    403    303    404    403    403    403
alfa issued    303    403    403    403    403    403    404    404    403    403    403
alfa uploaded  303    403    403    403    403    403    404    404    403    403    403
beta pending   303    403    403    403    403    403    404    404    403    404    403
beta approved  303    403    403    403    403    403    404    200    403    200    403
beta rejected  303    403    403    403    403    403    404    404    403    404    403
beta archived  303    403    403    403    403    403    404    303    403    303    403
absent         303    403    403    403    403    403    404    404    403    404    403
        """),
    ),
    **dict.fromkeys(
        [
            ("GET", "/documents/{document_uid}/reopen"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa pending   303    403    403    403    403    403    404    404    403    403    403
alfa approved  303    403    403    403    403    403    303    404    403    403    403
alfa rejected  303    403    403    403    403    403    404    404    403    403    403
alfa archived  303    403    403    403    403    403    200    404    403    403    403
alfa issued    303    403    403    403    403    403    404    404    403    403    403
alfa uploaded  303    403    403    403    403    403    404    404    403    403    403
beta pending   303    403    403    403    403    403    404    404    403    404    403
beta approved  303    403    403    403    403    403    404    303    403    303    403
beta rejected  303    403    403    403    403    403    404    404    403    404    403
beta archived  303    403    403    403    403    403    404    200    403    200    403
absent         303    403    403    403    403    403    404    404    403    404    403
        """),
    ),
    **dict.fromkeys(
        [
            ("GET", "/notices/{notice_uid}/files/{name}"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa notice    303    200    200    404    200    404    200    404    200    200    404
beta notice    303    404    404    404    404    404    404    200    200    200    200
absent         303    404    404    404    404    404    404    404    404    404    404
        """),
    ),
    **dict.fromkeys(
        [
            ("POST", "/clients/{client_uid}/spv/fetch"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa           303    303    303    403    403    303    303    404    303    303    404
beta           303    404    404    403    403    404    404    303    303    303    303
absent         303    404    404    403    403    404    404    404    404    404    404
        """),
    ),
    **dict.fromkeys(
        [
            ("POST", "/clients/{client_uid}/spv/interval"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa           303    303    403    403    403    403    303    404    303    303    404
beta           303    404    403    403    403    403    404    303    303    303    303
absent         303    404    403    403    403    403    404    404    404    404    404
        """),
    ),
    **dict.fromkeys(
        [
            ("POST", "/spv/fetch"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
-              303    403    403    403    403    403    303    303    303    303    403
        """),
    ),
    **dict.fromkeys(
        [
            ("POST", "/csp-report"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
-              204    204    204    204    204    204    204    204    204    204    204
        """),
    ),
    **dict.fromkeys(
        [
            ("POST", "/login"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
-              403    403    403    403    403    403    403    403    403    403    403
        """),
    ),
    **dict.fromkeys(
        [
            ("POST", "/language"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
-              303    400    400    400    400    400    400    400    400    400    400
        """),
    ),
    **dict.fromkeys(
        [
            ("POST", "/activate"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
-              400    403    403    403    403    403    403    403    403    403    403
        """),
    ),
    **dict.fromkeys(
        [
            ("POST", "/documents/{document_uid}/approve"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa pending   303    303    303    403    403    404    403    403    403    303    404
alfa approved  303    409    409    403    403    404    403    403    403    409    404
alfa rejected  303    409    409    403    403    404    403    403    403    409    404
alfa archived  303    409    409    403    403    404    403    403    403    409    404
alfa issued    303    303    303    403    403    303    403    403    403    303    404
alfa uploaded  303    303    403    403    403    404    403    403    403    303    404
beta pending   303    404    404    403    403    404    403    403    403    404    303
beta approved  303    404    404    403    403    404    403    403    403    403    409
beta rejected  303    404    404    403    403    404    403    403    403    404    409
beta archived  303    404    404    403    403    404    403    403    403    403    409
absent         303    404    404    403    403    404    403    403    403    404    404
        """),
    ),
    **dict.fromkeys(
        [
            ("POST", "/documents/{document_uid}/reject"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa pending   303    303    303    403    403    404    403    403    403    303    404
alfa approved  303    409    409    403    403    404    403    403    403    409    404
alfa rejected  303    409    409    403    403    404    403    403    403    409    404
alfa archived  303    409    409    403    403    404    403    403    403    409    404
alfa issued    303    303    303    403    403    303    403    403    403    303    404
alfa uploaded  303    303    303    403    403    404    403    403    403    303    404
beta pending   303    404    404    403    403    404    403    403    403    404    303
beta approved  303    404    404    403    403    404    403    403    403    403    409
beta rejected  303    404    404    403    403    404    403    403    403    404    409
beta archived  303    404    404    403    403    404    403    403    403    403    409
absent         303    404    404    403    403    404    403    403    403    404    404
        """),
    ),
    **dict.fromkeys(
        [
            ("POST", "/documents/{document_uid}/reconsider"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa pending   303    409    409    403    403    404    403    403    403    409    404
alfa approved  303    409    409    403    403    404    403    403    403    409    404
alfa rejected  303    303    303    403    403    404    403    403    403    303    404
alfa archived  303    409    409    403    403    404    403    403    403    409    404
alfa issued    303    409    409    403    403    409    403    403    403    409    404
alfa uploaded  303    409    409    403    403    404    403    403    403    409    404
beta pending   303    404    404    403    403    404    403    403    403    404    409
beta approved  303    404    404    403    403    404    403    403    403    403    409
beta rejected  303    404    404    403    403    404    403    403    403    404    303
beta archived  303    404    404    403    403    404    403    403    403    403    409
absent         303    404    404    403    403    404    403    403    403    404    404
        """),
    ),
    **dict.fromkeys(
        [
            ("POST", "/documents/{document_uid}/withdraw"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa pending   303    409    409    403    403    404    403    403    403    409    404
alfa approved  303    303    303    403    403    404    403    403    403    303    404
alfa rejected  303    409    409    403    403    404    403    403    403    409    404
alfa archived  303    409    409    403    403    404    403    403    403    409    404
alfa issued    303    409    409    403    403    409    403    403    403    409    404
alfa uploaded  303    409    409    403    403    404    403    403    403    409    404
beta pending   303    404    404    403    403    404    403    403    403    404    409
beta approved  303    404    404    403    403    404    403    403    403    403    303
beta rejected  303    404    404    403    403    404    403    403    403    404    409
beta archived  303    404    404    403    403    404    403    403    403    403    409
absent         303    404    404    403    403    404    403    403    403    404    404
        """),
    ),
    **dict.fromkeys(
        [
            ("POST", "/documents/{document_uid}/return"),
            ("POST", "/documents/{document_uid}/record"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa pending   303    403    403    403    403    403    404    404    403    403    403
alfa approved  303    403    403    403    403    403    303    404    403    403    403
alfa rejected  303    403    403    403    403    403    404    404    403    403    403
alfa archived  303    403    403    403    403    403    409    404    403    403    403
alfa issued    303    403    403    403    403    403    404    404    403    403    403
alfa uploaded  303    403    403    403    403    403    404    404    403    403    403
beta pending   303    403    403    403    403    403    404    404    403    404    403
beta approved  303    403    403    403    403    403    404    303    403    303    403
beta rejected  303    403    403    403    403    403    404    404    403    404    403
beta archived  303    403    403    403    403    403    404    409    403    409    403
absent         303    403    403    403    403    403    404    404    403    404    403
        """),
    ),
    **dict.fromkeys(
        [
            ("POST", "/documents/{document_uid}/reopen"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa pending   303    403    403    403    403    403    404    404    403    403    403
alfa approved  303    403    403    403    403    403    409    404    403    403    403
alfa rejected  303    403    403    403    403    403    404    404    403    403    403
alfa archived  303    403    403    403    403    403    303    404    403    403    403
alfa issued    303    403    403    403    403    403    404    404    403    403    403
alfa uploaded  303    403    403    403    403    403    404    404    403    403    403
beta pending   303    403    403    403    403    403    404    404    403    404    403
beta approved  303    403    403    403    403    403    404    409    403    409    403
beta rejected  303    403    403    403    403    403    404    404    403    404    403
beta archived  303    403    403    403    403    403    404    303    403    303    403
absent         303    403    403    403    403    403    404    404    403    404    403
        """),
    ),
    **dict.fromkeys(
        [
            ("POST", "/notices/{notice_uid}/acknowledge"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa notice    303    303    303    404    303    404    303    404    303    303    404
beta notice    303    404    404    404    404    404    404    303    303    303    303
absent         303    404    404    404    404    404    404    404    404    404    404
        """),
    ),
    **dict.fromkeys(
        [
            ("GET", "/spv/link"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
-              303    303    403    403    403    403    200    200    200    200    303
        """),
    ),
    **dict.fromkeys(
        [
            ("POST", "/spv/link"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
-              303    403    403    403    403    403    303    303    303    303    403
        """),
    ),
    **dict.fromkeys(
        [
            ("GET", "/spv/grants"),
            ("GET", "/spv/link/failed"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
-              303    200    403    403    403    403    200    200    200    200    200
        """),
    ),
    # Without having begun there is nowhere to go.
    **dict.fromkeys(
        [
            ("GET", "/spv/link/go"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
-              303    303    403    403    403    403    303    303    303    303    303
        """),
    ),
    # Back from ANAF always leads to a clean address.
    **dict.fromkeys(
        [
            ("GET", "/spv/callback"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
-              303    303    303    303    303    303    303    303    303    303    303
        """),
    ),
    **dict.fromkeys(
        [
            ("GET", "/settings/spv"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
-              303    403    403    403    403    403    403    403    200    403    403
        """),
    ),
    # Nothing is filled in.
    **dict.fromkeys(
        [
            ("POST", "/settings/spv"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
-              303    403    403    403    403    403    403    403    400    403    403
        """),
    ),
    **dict.fromkeys(
        [
            ("GET", "/clients/{client_uid}/spv/link"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa           303    200    403    403    403    403    200    404    200    200    404
beta           303    404    403    403    403    403    404    200    200    200    200
absent         303    404    403    403    403    403    404    404    404    404    404
        """),
    ),
    **dict.fromkeys(
        [
            ("POST", "/clients/{client_uid}/spv/link"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa           303    303    403    403    403    403    303    404    303    303    404
beta           303    404    403    403    403    403    404    303    303    303    303
absent         303    404    403    403    403    403    404    404    404    404    404
        """),
    ),
    **dict.fromkeys(
        [
            ("GET", "/spv/grants/{grant_uid}"),
            ("POST", "/spv/grants/{grant_uid}/test"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa grant     303    200    403    403    403    403    200    404    200    200    404
beta grant     303    404    403    403    403    403    404    200    200    200    200
absent         303    404    403    403    403    403    404    404    404    404    404
        """),
    ),
    # Who authorised it, and people of the firm; ANAF has offered nothing to the owners.
    **dict.fromkeys(
        [
            ("POST", "/spv/grants/{grant_uid}/confirm"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa grant     303    303    403    403    403    403    303    404    303    404    404
beta grant     303    404    403    403    403    403    404    303    303    303    404
absent         303    404    403    403    403    403    404    404    404    404    404
        """),
    ),
    **dict.fromkeys(
        [
            ("POST", "/spv/grants/{grant_uid}/unmap"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa grant     303    303    403    403    403    403    303    404    303    303    404
beta grant     303    404    403    403    403    403    404    303    303    303    303
absent         303    404    403    403    403    403    404    404    404    404    404
        """),
    ),
    # Who authorised it, and the administrator.
    **dict.fromkeys(
        [
            ("GET", "/spv/grants/{grant_uid}/link"),
            ("GET", "/spv/grants/{grant_uid}/revoke"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa grant     303    200    403    403    403    403    403    404    200    403    404
beta grant     303    404    403    403    403    403    404    200    200    403    403
absent         303    404    403    403    403    403    404    404    404    404    404
        """),
    ),
    **dict.fromkeys(
        [
            ("POST", "/spv/grants/{grant_uid}/link"),
            ("POST", "/spv/grants/{grant_uid}/revoke"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
alfa grant     303    303    403    403    403    403    403    404    303    403    404
beta grant     303    404    403    403    403    403    404    303    303    403    403
absent         303    404    403    403    403    403    404    404    404    404    404
        """),
    ),
    **dict.fromkeys(
        [
            ("POST", "/logout"),
        ],
        table("""
               nobody ana    bogdan corina dan    ema    elena  florin gina   horia  bianca
-              303    303    303    303    303    303    303    303    303    303    303
        """),
    ),
}
