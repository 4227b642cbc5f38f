"""One session of anafpy with an SPV, told as JSON. Run by `run_script`, never imported."""

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import httpx2
from anafpy.auth import FileTokenStore, TokenProvider
from anafpy.auth.oauth import build_authorize_url, exchange_code
from anafpy.efactura import EFacturaClient
from anafpy.efactura.models import Filter, UploadStandard
from anafpy.exceptions import AnafError
from anafpy.public import PublicClient

CALLBACK = "https://localhost:9443/callback"


async def failure(call):
    try:
        await call
    except AnafError as error:
        return [type(error).__name__, str(error)]
    return None


async def ids(client, **window):
    return sorted([m.id async for m in client.list_messages(**window)])


async def authorise(http, about):
    url = build_authorize_url(about["client_id"], CALLBACK, state="s1")
    answer = await http.get(url)
    query = parse_qs(urlparse(answer.headers["location"]).query)
    return query["state"][0], await exchange_code(
        http,
        client_id=about["client_id"],
        client_secret=about["client_secret"],
        code=query["code"][0],
        redirect_uri=CALLBACK,
    )


async def session(about, invoice, wrong):
    store = FileTokenStore(Path(os.environ["ANAFPY_TOKEN_STORE"]))
    provider = TokenProvider(
        client_id=about["client_id"], client_secret=about["client_secret"], store=store
    )
    told = {}
    async with httpx2.AsyncClient() as http:
        told["state"], tokens = await authorise(http, about)
    store.save(tokens)
    told["lives"] = [
        round((until - time.time()) / 86400)
        for until in (tokens.access_expires_at, tokens.refresh_expires_at)
    ]
    await provider.force_refresh()
    refreshed = store.load()
    told["rotated"] = [
        refreshed.access_token != tokens.access_token,
        refreshed.refresh_token != tokens.refresh_token,
    ]
    store.save(tokens)  # its refresh token has been used
    told["used_twice"] = await failure(provider.force_refresh())
    store.save(refreshed)

    first = about["cifs"][0]
    async with EFacturaClient(provider) as client, PublicClient() as public:
        told["lists"] = {cif: await ids(client, cif=cif, days=60) for cif in about["cifs"]}
        told["filtered"] = {
            letter.value: await ids(client, cif=first, days=60, filter=letter) for letter in Filter
        }
        told["no_right"] = await failure(ids(client, cif="999", days=60))
        told["unknown"] = await failure(client.download("1"))
        zipped = await client.download(told["lists"][first][0])
        checked = await client.validate_signature(zipped.content_xml, zipped.signature_xml)
        spoiled = await client.validate_signature(zipped.content_xml + b" ", zipped.signature_xml)
        told["signatures"] = [checked.valid, spoiled.valid]

        told["valid"] = (await public.validate_invoice(invoice)).valid
        told["pdf"] = (await public.render_invoice_pdf(invoice, validate=False))[:5].decode()
        sent = await client.upload_and_wait(invoice, cif=first, initial_wait=0.05)
        told["sent"] = [sent.state.value, sent.download_id]
        told["sent_bytes"] = (await client.download(sent.download_id)).content_xml == invoice
        again = await client.upload_and_wait(invoice, cif=first, initial_wait=0.05)
        told["again"] = again.state.value
        refused = await client.download(again.download_id)
        told["again_says"] = refused.content_xml.decode()
        broken = await client.upload(wrong, cif=first)
        told["broken"] = [broken.accepted, broken.errors]
        told["strange"] = await failure(client.get_status("5"))
        answer = '<header xmlns="mfp:anaf:dgti:spv:reqMesaj:v1" index_incarcare="1" message="x"/>'
        rasp = await client.upload(answer, cif=first, standard=UploadStandard.RASP)
        told["rasp"] = [rasp.accepted, (await client.get_status(rasp.upload_id)).state.value]
    await provider.aclose()
    return told


def main():
    about = json.loads(Path(sys.argv[1]).read_text())
    invoice, wrong = Path(sys.argv[2]).read_bytes(), b"<nothing"
    print(json.dumps(asyncio.run(session(about, invoice, wrong))))


main()
