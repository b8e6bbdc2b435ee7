// Pages of several origins ask servers of sinew, and say what they could read; one of them speaks
// WebSocket.
//
//     node check.mjs TOOLS SERVER [RUNTIME …]

import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { isDeepStrictEqual } from 'node:util';

const [tools, program, ...chosen] = process.argv.slice(2);
const { chromium } = createRequire(`${resolve(tools)}/`)('playwright-core');

const RUNTIMES = ['tokio', 'smol', 'async-std'];
const FLAGS = [
  '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
];

/** What a page may read of an answer to a request of its own. */
async function ask(page, url, init = {}) {
  return page.evaluate(async ([url, init]) => {
    try {
      const response = await fetch(url, init);
      const text = await response.text();
      const fields = ['x-total', 'x-secret', 'x-request-id', 'retry-after'];
      return {
        type: response.type,
        status: response.status,
        fields: Object.fromEntries(fields.map((name) => [name, response.headers.get(name)])),
        text,
        json: text.startsWith('{') ? JSON.parse(text) : null,
      };
    } catch (error) {
      return { type: error.name };
    }
  }, [url, init]);
}

/** The same from within a page that is nobody: a document in a sandbox, or behind a `data:` URL. */
async function askFromNowhere(page, frame, url) {
  return page.evaluate(async ([frame, url]) => {
    const script = `fetch(${JSON.stringify(url)})
      .then((r) => r.type, (e) => e.name).then((type) => parent.postMessage(type, '*'))`;
    const html = `<script>${script}</${'script'}>`;
    const element = document.createElement('iframe');
    const told = new Promise((tell) => {
      addEventListener('message', (event) => tell(event.data), { once: true });
    });
    if (frame === 'sandbox') {
      element.sandbox = 'allow-scripts';
      element.srcdoc = html;
    } else {
      element.src = `data:text/html,${encodeURIComponent(html)}`;
    }
    document.body.append(element);
    return told;
  }, [frame, url]);
}

/** Servers on one runtime, and a browser context of their own. */
class Site {
  static async start(browser, runtime, tls) {
    const server = spawn(program, ['--runtime', runtime, ...(tls ? ['--tls'] : [])], {
      // A handler panics on purpose, and says so there.
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    const [line] = await Promise.race([
      new Promise((told) => createInterface(server.stdout).once('line', (line) => told([line]))),
      new Promise((_, fail) => server.once('exit', (code) => fail(new Error(`server: ${code}`)))),
    ]);
    const site = new Site();
    site.server = server;
    site.gone = new Promise((told) => server.once('exit', told));
    site.ports = JSON.parse(line);
    site.scheme = tls ? 'https' : 'http';
    site.context = await browser.newContext({ ignoreHTTPSErrors: true });
    site.name = `${runtime}${tls ? ' over TLS' : ''}`;
    return site;
  }

  async stop() {
    await this.context.close();
    this.server.stdin.end();
    await this.gone;
  }

  async page(host) {
    const page = await this.context.newPage();
    await page.goto(`${this.scheme}://${host}:${this.ports.pages}/`);
    return page;
  }

  url(server, path) {
    return `${this.scheme}://127.0.0.1:${this.ports[server]}${path}`;
  }

  /** What arrived since this was last asked. */
  async arrived() {
    const response = await fetch(`http://127.0.0.1:${this.ports.log}/`);
    return response.json();
  }

  async methods() {
    return (await this.arrived()).map((entry) => entry.method);
  }
}

let failed = 0;
let passed = 0;

function is(what, got, wanted) {
  if (isDeepStrictEqual(got, wanted)) {
    passed += 1;
  } else {
    failed += 1;
    console.log(`FAILED ${what}: ${JSON.stringify(got)}, expected ${JSON.stringify(wanted)}`);
  }
}

/** What a page sees of an answer that it may not read. */
const BLOCKED = { type: 'TypeError' };

async function simpleRequests(site, pages) {
  const open = site.url('shop', '/open');
  const page = await ask(pages.allowed, open);
  is('an allowed page reads the answer', [page.type, page.status], ['cors', 200]);
  is('without a preflight', await site.methods(), ['GET']);
  is('an exposed field is readable', page.fields['x-total'], '7');
  is('no other field is', [page.fields['x-secret'], page.fields['x-request-id']], [null, null]);
  is('a page of a matching name reads it', (await ask(pages.pattern, open)).status, 200);
  await site.arrived();

  for (const name of ['foreign', 'deeper']) {
    is(`${name}: the answer is withheld`, await ask(pages[name], open), BLOCKED);
    is(`${name}: the request was served`, await site.methods(), ['GET']);
  }
  const opaque = await ask(pages.foreign, open, { mode: 'no-cors' });
  is('an opaque answer shows nothing', [opaque.type, opaque.status, opaque.text], ['opaque', 0, '']);
  const form = { method: 'POST', body: 'a', headers: { 'content-type': 'text/plain' } };
  await site.arrived();
  is('a form is posted', (await ask(pages.allowed, open, form)).status, 200);
  is('a form has no preflight', await site.methods(), ['POST']);
}

async function preflights(site, pages) {
  const put = { method: 'PUT', headers: { 'x-custom': '1' } };
  const shop = site.url('shop', '/open');
  is('a preflight is granted', (await ask(pages.allowed, shop, put)).status, 200);
  is('it comes first', await site.methods(), ['OPTIONS', 'PUT']);
  await ask(pages.allowed, shop, put);
  is('it is remembered within max-age', await site.methods(), ['PUT']);

  const fresh = site.url('fresh', '/open');
  const plain = { method: 'PUT' };
  await ask(pages.allowed, fresh, plain);
  await ask(pages.allowed, fresh, plain);
  const twice = ['OPTIONS', 'PUT', 'OPTIONS', 'PUT'];
  is('with a max-age of 0 it is not', await site.methods(), twice);

  const json = { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } };
  is('a granted field goes along', (await ask(pages.allowed, fresh, json)).status, 200);
  is('after a preflight', await site.methods(), ['OPTIONS', 'POST']);
  for (const [why, page, init] of [
    ['a foreign origin', pages.foreign, plain],
    ['a method', pages.allowed, { method: 'DELETE' }],
    ['a field', pages.allowed, { headers: { 'x-other': '1' } }],
  ]) {
    is(`${why} is not granted`, await ask(page, shop, init), BLOCKED);
    is(`${why}: the request is not sent`, await site.methods(), ['OPTIONS']);
  }
}

async function credentials(site, pages) {
  const include = { credentials: 'include' };
  const cookie = (answer) => answer.json?.cookie;
  await ask(pages.allowed, site.url('shop', '/login'), { ...include, method: 'POST' });
  const shop = site.url('shop', '/open');
  is('a cookie goes along', cookie(await ask(pages.allowed, shop, include)), 'session=1');
  is('unasked it stays', cookie(await ask(pages.allowed, shop)), '');
  for (const server of ['fresh', 'public']) {
    const open = site.url(server, '/open');
    is(`${server}: no answer for cookies`, await ask(pages.allowed, open, include), BLOCKED);
    is(`${server}: one without`, (await ask(pages.allowed, open)).status, 200);
  }
  await site.arrived();
  const token = { headers: { authorization: 'Bearer ann' } };
  is('a token is taken', (await ask(pages.allowed, site.url('shop', '/me'), token)).text, '"me"');
  const sent = (await site.arrived()).map((entry) => [entry.method, entry.credentials]);
  is('its preflight has none', sent, [['OPTIONS', false], ['GET', true]]);
}

async function refusals(site, pages) {
  const ann = { headers: { authorization: 'Bearer ann' } };
  const bad = { headers: { authorization: 'Bearer bob' } };
  const large = { method: 'POST', body: 'too large' };
  for (const [path, init, status, reason] of [
    ['/me', {}, 401, 'unauthenticated'],
    ['/me', bad, 401, 'invalid_token'],
    ['/admin', ann, 403, 'forbidden'],
    ['/nowhere', ann, 404, 'not_found'],
    ['/me', { ...ann, method: 'PUT' }, 405, 'method_not_allowed'],
    ['/small', large, 413, 'body_too_large'],
    ['/broken', {}, 500, 'internal'],
    ['/slow', {}, 503, 'handler_timeout'],
  ]) {
    const url = site.url('shop', path);
    const answer = await ask(pages.allowed, url, init);
    const told = [answer.status, answer.json?.status, answer.json?.reason];
    is(`${path}: an allowed page reads why`, told, [status, status, reason]);
    is(`${path}: a foreign one does not`, await ask(pages.foreign, url, init), BLOCKED);
  }
  const once = site.url('shop', '/once');
  await ask(pages.allowed, once);
  const limited = await ask(pages.allowed, once);
  is('/once: it reads why', [limited.status, limited.json?.reason], [429, 'rate_limited']);
  is('/once: and when to come back', Number(limited.fields['retry-after']) > 3000, true);
  is('/once: a foreign one does not', await ask(pages.foreign, once), BLOCKED);
}

async function nobody(site, pages) {
  for (const frame of ['sandbox', 'data']) {
    await site.arrived();
    const shop = await askFromNowhere(pages.pattern, frame, site.url('shop', '/open'));
    const origins = (await site.arrived()).map((entry) => entry.origin);
    is(`${frame}: the origin is null, and matches nothing`, [shop, origins], ['TypeError', ['null']]);
    const open = await askFromNowhere(pages.pattern, frame, site.url('public', '/open'));
    is(`${frame}: what is for everyone is for nobody, too`, open, 'cors');
  }
}

/** Opens a socket in a page, sends messages, and tells what came back and how it ended. */
async function speak(page, url, texts, lengths) {
  return page.evaluate(async ([url, texts, lengths]) => {
    const socket = new WebSocket(url);
    socket.binaryType = 'arraybuffer';
    const told = { came: [], extensions: null, code: null };
    const ended = new Promise((tell) => { socket.onclose = tell; });
    socket.onopen = () => {
      told.extensions = socket.extensions;
      texts.forEach((text) => socket.send(text));
      lengths.forEach((length) => socket.send(new Uint8Array(length).fill(7)));
    };
    socket.onmessage = ({ data }) => {
      const same = typeof data === 'string' || new Uint8Array(data).every((byte) => byte === 7);
      told.came.push(typeof data === 'string' ? data : same && data.byteLength);
      if (told.came.length === texts.length + lengths.length) {
        socket.close(4000, 'enough');
      }
    };
    told.code = (await ended).code;
    return told;
  }, [url, texts, lengths]);
}

async function sockets(site, pages) {
  const url = `${site.url('pages', '/ws').replace('http', 'ws')}`;
  const texts = ['hello', '', 'grüße aus 東京', 'again and again '.repeat(10_000)];
  const lengths = [0, 1, 70_000];
  const told = await speak(pages.allowed, url, texts, lengths);
  is('a page gets its messages back', told.came, [...texts, ...lengths]);
  is('they were packed', told.extensions, 'permessage-deflate');
  is('its close is answered', told.code, 4000);
  const foreign = await speak(pages.foreign, url, texts, lengths);
  is('a page of another origin is refused', [foreign.came, foreign.code], [[], 1006]);
}

/** A page with a socket open sees that the server stops. */
async function farewell(site, pages) {
  const url = `${site.url('pages', '/ws').replace('http', 'ws')}`;
  await pages.allowed.evaluate((url) => new Promise((opened) => {
    const socket = new WebSocket(url);
    window.ended = new Promise((tell) => {
      socket.onclose = ({ code, wasClean }) => tell([code, wasClean]);
    });
    socket.onopen = opened;
  }), url);
  site.server.stdin.end();
  is('at the stop it is told', await pages.allowed.evaluate(() => window.ended), [1001, true]);
}

/** A page that came from a public network, as far as Chromium knows. */
async function privateNetworks(site, launch) {
  const host = `127.0.0.1:${site.ports.pages}`;
  const browser = await launch([`--ip-address-space-overrides=${host}=public`]);
  try {
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    const page = await context.newPage();
    await page.goto(`${site.scheme}://${host}/`);
    await site.arrived();
    const put = { method: 'PUT' };
    const closed = await ask(page, site.url('shop', '/open'), put);
    const before = await site.arrived();
    if (before.some((entry) => entry.private === 'true')) {
      is('no way into a private network by default', closed, BLOCKED);
      is('one where it is opened', (await ask(page, site.url('fresh', '/open'), put)).status, 200);
      return 'asks servers';
    }
    // https://wicg.github.io/local-network-access/ replaces the question to the server by one to
    // whoever sits in front of the screen.
    is('nobody gave leave', closed, BLOCKED);
    is('nothing was sent', before, []);
    await context.grantPermissions(['local-network-access']);
    is('with leave, CORS decides', (await ask(page, site.url('shop', '/open'), put)).status, 200);
    return 'asks the user, and servers only about CORS';
  } finally {
    await browser.close();
  }
}

async function check(browser, launch, runtime, tls) {
  const site = await Site.start(browser, runtime, tls);
  const before = [passed, failed];
  let about;
  try {
    const hosts = {
      allowed: '127.0.0.1', pattern: 'app.localhost', deeper: 'a.b.localhost', foreign: 'localhost',
    };
    const pages = {};
    for (const [name, host] of Object.entries(hosts)) {
      pages[name] = await site.page(host);
    }
    for (const part of [simpleRequests, preflights, credentials, refusals, nobody, sockets]) {
      await site.arrived();
      await part(site, pages);
    }
    about = await privateNetworks(site, launch);
    await farewell(site, pages);
  } finally {
    await site.stop();
  }
  const [more, worse] = [passed - before[0], failed - before[1]];
  console.log(`${site.name}: ${more} passed, ${worse} failed`);
  return about;
}

const launch = (more) => chromium.launch({
  executablePath: '/usr/bin/chromium', headless: true, args: [...FLAGS, ...more],
});

let browser;
try {
  browser = await launch([]);
} catch (error) {
  console.error(`cannot be had here: a Chromium that starts\n${error.message}`);
  process.exit(3);
}
try {
  console.log(`Chromium ${browser.version()}`);
  let about;
  for (const runtime of chosen.length > 0 ? chosen : RUNTIMES) {
    for (const tls of [false, true]) {
      about = await check(browser, launch, runtime, tls);
    }
  }
  console.log(`private networks: this Chromium ${about}`);
  console.log(`${passed} passed, ${failed} failed`);
} finally {
  await browser.close();
}
process.exitCode = failed > 0 ? 1 : 0;
