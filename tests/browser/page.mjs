// The page in a real browser: `node page.mjs SCENARIO`, run by tests/control/page.rs, which says where everything is.
//
// Environment: PLAYWRIGHT (the directory with playwright-core's node_modules), CHROMIUM (its path), PAGE (where the page is),
// CONFIG (the program's configuration file, which may be changed), DNS (the port of its listeners).

import assert from "node:assert/strict";
import dgram from "node:dgram";
import fs from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";

const { chromium } = createRequire(`${process.env.PLAYWRIGHT}/`)("playwright-core");
const { CHROMIUM, CONFIG, PAGE } = process.env;
const DEADLINE = 20_000;

// What the browser complains of: nothing, unless a scenario says so.
const complaints = [];

async function open(browser, options = {}, prepare = () => {}) {
  const context = await browser.newContext({ viewport: { width: 1360, height: 860 }, ...options });
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  const page = await context.newPage();
  page.setDefaultTimeout(DEADLINE);
  page.on("console", (message) => complaints.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => complaints.push(error.stack));
  page.on("dialog", (dialog) => {
    complaints.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  await prepare(page);
  await page.goto(PAGE);
  await page.waitForSelector("#network-list .head");
  return page;
}

// Waits until something is so.
async function until(what, test) {
  const deadline = Date.now() + DEADLINE;
  while (!(await test())) {
    assert.ok(Date.now() < deadline, `not so in time: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

// A DNS client at an address; `labels` are texts.
function client(address) {
  const socket = dgram.createSocket("udp4");
  socket.bind(0, address);
  return {
    ask(labels, type = 1, server = "127.0.0.1") {
      const name = labels.flatMap((label) => [Buffer.from([Buffer.byteLength(label)]), Buffer.from(label)]);
      const query = Buffer.concat([Buffer.from([0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]), ...name, Buffer.from([0, 0, type, 0, 1])]);
      socket.send(query, Number(process.env.DNS), server);
    },
    close: () => socket.close(),
  };
}

// Asks until the page shows it: nothing else says that it watches.
async function askUntil(ask, locator) {
  await until(`a query is shown: ${locator}`, async () => {
    ask();
    return (await locator.count()) > 0;
  });
}

function writeConfig(text) {
  fs.writeFileSync(`${CONFIG}.new`, text);
  fs.renameSync(`${CONFIG}.new`, CONFIG);
}

const clipboard = (page) => page.evaluate(() => navigator.clipboard.readText());
const focused = (page) => page.evaluate(() => document.activeElement.id || document.activeElement.className);
const line = (page, text) => page.locator("#network-list .line", { hasText: text });

const scenarios = {
  // An operator looks, and a container starts meanwhile.
  async looks(browser) {
    const page = await open(browser);
    const web = client("127.10.0.2");
    assert.match(await page.textContent("#health"), /all is well/);
    assert.equal(await page.locator("#network-list .head").count(), 2);
    await line(page, "worker").getByText("stopped").waitFor();
    await line(page, "web").getByText("also on blog").waitFor();

    writeConfig(fs.readFileSync(CONFIG, "utf8").replace("endpoint = [", `endpoint = [{ id = "late-1", names = ["late"], addresses = ["127.10.0.9"] },`));
    await line(page, "late").getByText("127.10.0.9").waitFor();

    // Its query, with who, what and why.
    const row = page.locator("#query-list .row", { hasText: "late A" }).first();
    await askUntil(() => web.ask(["late"]), row);
    const said = await row.innerText();
    for (const part of ["web", "late A", "127.10.0.9", "a container's name", "ms"]) assert.ok(said.includes(part), `${part} in ${said}`);
    await row.getByText("why?").click();
    await page.locator("#explanation h3", { hasText: "web gets 127.10.0.9 for late." }).waitFor();

    // What failed is on top, and its why? leads to the cause.
    await page.locator("#attention .quiet").waitFor();
    const failure = page.locator("#attention li", { hasText: "cms" });
    await askUntil(() => web.ask(["cms", "internal"]), failure);
    assert.match(await failure.innerText(), /web asked for cms\.internal A: no such name/);
    await failure.getByText("why?").click();
    await page.locator("#explanation .card.bad h3", { hasText: 'web gets "no such name"' }).waitFor();
    await page.locator("#explanation summary").click();
    assert.match(await page.innerText("#explanation dl"), /rule\s+N5/);

    // The form, with another client; and one that there is not.
    await page.fill("[name=from]", "shop-db-1");
    await page.fill("[name=name]", "cms");
    await page.click("#question [type=submit]");
    await page.getByText("cms is on blog only; db is not attached to it.").waitFor();
    await page.fill("[name=from]", "nobody-here");
    await page.press("[name=from]", "Enter");
    await page.locator("#explanation").getByText('there is no container "nobody-here"').waitFor();
    complaints.splice(0, complaints.length, ...complaints.filter((text) => !text.includes("422")));

    // The upstream that nobody answers at, and the cache.
    await page.locator("#attention .card.bad").waitFor({ state: "detached" });
    const www = page.locator("#query-list .row", { hasText: "www.example A" });
    await askUntil(() => web.ask(["www", "example"]), www);
    await page.locator(".upstream.down", { hasText: "127.0.0.66:1" }).waitFor();
    await page.locator("#attention .card.bad", { hasText: "Upstream 127.0.0.66:1 does not answer" }).waitFor();
    assert.match(await page.textContent("#health"), /1 problem/);
    assert.match(await page.textContent("#figures"), /cache hits/);

    // Filters as one types, and the other way round.
    await page.fill("#filter", "web late -www");
    await until("only late is shown", async () => {
      const rows = await page.locator("#query-list .row .asked").allInnerTexts();
      return rows.length > 0 && rows.every((text) => text === "late A");
    });
    await page.fill("#filter", "");
    await page.click("#failed");
    await until("only failed ones are shown", async () => {
      web.ask(["cms", "internal"]);
      web.ask(["late"]);
      const rows = await page.locator("#query-list .row .answer").allInnerTexts();
      return rows.length > 0 && rows.every((text) => ["no such name", "failed"].includes(text));
    });

    // A click copies a name.
    await line(page, "shop-db-1").locator(".names").getByText("database", { exact: true }).click();
    assert.equal(await clipboard(page), "database");
    web.close();
  },

  // Names that would be markup stay text, wherever they are shown.
  async hostile(browser) {
    const evil = '<img src=x onerror="window.pwned=1">';
    const text = fs.readFileSync(CONFIG, "utf8");
    writeConfig(
      text
        .replace("endpoint = [", `endpoint = [{ id = '${evil}', addresses = ["127.10.0.66"] },`)
        .concat(`\n[[network]]\nname = '${evil}'\nlisten = ["127.0.0.3"]\nendpoint = [{ id = '${evil}', addresses = ["127.10.0.67"] }]\n`),
    );
    const page = await open(browser);
    const requests = [];
    page.on("request", (request) => requests.push(new URL(request.url()).pathname));
    const neighbour = client("127.10.0.66");
    const script = "<script>window.pwned=2</script>";
    const shown = (selector) => page.locator(selector, { hasText: "window.pwned" }).first();
    await shown("#network-list .head").waitFor();
    await shown("#network-list .line").getByText("sees").click();
    await page.locator("#selected", { hasText: "onerror" }).waitFor();
    await askUntil(() => neighbour.ask([script, "internal"], 16), shown("#query-list .row"));
    const row = await shown("#query-list .row").innerText();
    assert.ok(row.includes(evil), row);
    await shown("#attention li").getByText("why?").click();
    await shown("#explanation h3").waitFor();
    await shown("#explanation").locator("summary").click();
    await page.fill("#filter", script);
    await page.fill("#find", evil);
    await page.fill("[name=from]", evil);
    await page.fill("[name=name]", "javascript:window.pwned=3");
    await page.click("#question [type=submit]");
    await page.locator("#explanation h3").waitFor();
    await until("suggestions", () => page.locator("#containers option").count());
    const elements = await page.evaluate(() => [window.pwned ?? null, document.querySelectorAll("img, main script, iframe, [onerror]").length]);
    assert.deepEqual(elements, [null, 0]);
    assert.deepEqual(requests.filter((path) => !path.startsWith("/v1/")), []);
    // And if a name ever got that far: the policy stops it.
    const stopped = await page.evaluate(() => {
      try {
        document.body["inner" + "HTML"] = "<b>x</b>";
        return false;
      } catch (error) {
        return error.name;
      }
    });
    assert.equal(stopped, "TypeError");
    complaints.splice(0, complaints.length, ...complaints.filter((text) => !/TrustedHTML|40[04]|422/.test(text)));
    neighbour.close();
  },

  // 500 networks with 10,000 containers.
  async many(browser) {
    const page = await open(browser);
    await until("all are counted", async () => (await page.textContent("#figures")).includes("10,000"));
    const rows = () => page.locator("#network-list .row").count();
    assert.ok((await rows()) < 100, `${await rows()} rows`);
    const scroll = (to) => page.evaluate((to) => document.querySelector("#networks .scroll").scrollTo(0, to), to);
    for (let step = 0; step < 20; step++) await scroll(step * 17_000);
    await scroll(1e9);
    await line(page, "net-499-box-19").waitFor();
    assert.ok((await rows()) < 100, `${await rows()} rows`);
    const started = Date.now();
    await page.fill("#find", "net-321-box-7");
    await until("one is found", async () => (await page.locator("#network-list .line").count()) === 1);
    assert.ok(Date.now() - started < 5000, `${Date.now() - started} ms to find one`);
    await page.fill("#find", "");
    await page.locator("#network-list .row").first().focus();
    await page.keyboard.press("End");
    await line(page, "net-499-box-9").and(page.locator(":focus")).waitFor();
    await page.keyboard.press("Home");
    await page.locator("#network-list .head", { hasText: "net-000" }).and(page.locator(":focus")).waitFor();
    await page.fill("[name=from]", "net-123-box-1");
    await until("suggestions", () => page.locator("#containers option").count());
    assert.ok((await page.locator("#containers option").count()) <= 20);
  },

  // Without a mouse.
  async keyboard(browser) {
    const page = await open(browser);
    const web = client("127.10.0.2");
    const press = (...keys) => keys.reduce((before, key) => before.then(() => page.keyboard.press(key)), Promise.resolve());
    await press("/");
    assert.equal(await focused(page), "filter");
    await page.keyboard.type("t/?nefp");
    assert.equal(await page.inputValue("#filter"), "t/?nefp");
    await press("Escape");
    assert.equal(await page.inputValue("#filter"), "");
    await press("Escape", "n");
    assert.equal(await focused(page), "find");

    // Into the list, down to a container, and whom it sees.
    await press("Tab");
    await page.locator("#network-list .head:focus", { hasText: "blog" }).waitFor();
    await press("Enter");
    await page.locator('#network-list .head[aria-expanded="false"]:focus').waitFor();
    await press("Enter", "End", "ArrowUp");
    await page.locator("#network-list .line:focus", { hasText: "web" }).waitFor();
    await press("c");
    await until("web is copied", async () => (await clipboard(page)) === "web");
    await press("Enter");
    await page.locator("#selected", { hasText: "web sees 3 other containers on blog and shop." }).waitFor();
    await press("ArrowRight", "ArrowRight", "Enter");
    await until("the address is copied", async () => (await clipboard(page)) === "127.10.0.2");
    await press("ArrowLeft", "ArrowLeft", "Escape");
    await page.locator("#selected").waitFor({ state: "hidden" });

    // A query, and why.
    const row = page.locator("#query-list .row", { hasText: "db A" }).first();
    await askUntil(() => web.ask(["db"]), row);
    await press("/", "Tab", "Tab", "Tab");
    await page.locator("#query-list .row:focus").waitFor();
    await press("Enter");
    await page.locator("#explanation h3", { hasText: "web gets 127.10.0.3 for db." }).waitFor();
    assert.equal(await focused(page), "explanation");

    // While somebody moves in the list it holds still, and says that there are newer ones.
    await page.locator("#query-list .row[tabindex='0']").focus();
    const top = await page.locator("#query-list .row:focus").getAttribute("aria-rowindex");
    await askUntil(() => web.ask(["database"]), page.locator("#newer:not([hidden])", { hasText: "newer" }));
    assert.equal(await page.locator("#query-list .row:focus").getAttribute("aria-rowindex"), top);
    await page.locator("#newer").focus();
    await press("Enter");
    await page.locator("#query-list .row", { hasText: "database A" }).first().waitFor();

    await press("e");
    assert.match(await page.evaluate(() => document.activeElement.name), /name/);
    await press("Escape", "p");
    await page.locator("#pause[aria-pressed=true]", { hasText: "Go on" }).waitFor();
    await press("p", "f");
    await page.locator("#failed[aria-pressed=true]").waitFor();
    await press("?");
    await page.locator("#keys[open]").waitFor();
    await press("Escape");
    await page.locator("#keys").waitFor({ state: "hidden" });
    const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    await press("t");
    const light = await background();
    await press("t");
    assert.notEqual(await background(), light);
    await page.reload();
    assert.equal(await page.getAttribute("html", "data-theme"), "dark");
    web.close();
  },

  // One column, nothing to the side of it, by touch.
  async phone(browser) {
    const page = await open(browser, { viewport: { width: 360, height: 640 }, isMobile: true, hasTouch: true });
    const web = client("127.10.0.2");
    for (const part of ["networks", "queries", "upstreams", "explain"]) {
      await page.tap(`nav [data-tab=${part}]`);
      for (const other of ["networks", "queries", "upstreams", "explain"]) {
        assert.equal(await page.isVisible(`#${other}`), other === part, `${other} while ${part} is shown`);
      }
      const width = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(width <= 360, `${part} is ${width} pixels wide`);
    }
    await page.tap("nav [data-tab=queries]");
    const row = page.locator("#query-list .row", { hasText: "late.internal A" }).first();
    await askUntil(() => web.ask(["late", "internal"]), row);
    for (const cell of ["time", ".who", ".asked", ".answer", ".why", "button"]) assert.ok(await row.locator(cell).isVisible(), cell);
    await row.getByText("why?").tap();
    await page.locator("#explain h3", { hasText: 'web gets "no such name" for late.internal.' }).waitFor();
    await page.tap("nav [data-tab=networks]");
    await line(page, "shop-db-1").getByText("sees").tap();
    await page.locator("#selected", { hasText: "sees 2 other containers" }).waitFor();
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= 360, `${width} pixels wide`);
    web.close();
  },

  // With the token as password, as the browser asks for it.
  async token(browser) {
    const refused = await (await browser.newContext()).request.get(PAGE);
    assert.equal(refused.status(), 401);
    const page = await open(browser, { httpCredentials: { username: "me", password: process.env.TOKEN } });
    const web = client("127.10.0.2");
    await askUntil(() => web.ask(["db"]), page.locator("#query-list .row", { hasText: "db A" }));
    web.close();
  },

  // Another site's name that leads here gets nothing.
  async rebinding(browser) {
    const page = await (await browser.newContext()).newPage();
    const { port } = new URL(PAGE);
    for (const path of ["/", "/v1/names"]) {
      const response = await page.goto(`http://rebound.example:${port}${path}`);
      assert.equal(response.status(), 421);
      assert.ok(!(await response.text()).includes("shop"));
    }
    // Scripts of another site, such as another port of this host, that ask by our own name.
    const other = http.createServer((_, response) => response.setHeader("content-type", "text/html").end("<p>other</p>"));
    await new Promise((done) => other.listen(0, "127.0.0.1", done));
    await page.goto(`http://127.0.0.1:${other.address().port}/`);
    const refused = page.waitForEvent("requestfailed", (request) => request.url().includes("/v1/names"));
    await page.evaluate((url) => fetch(url, { mode: "no-cors" }).catch(() => {}), `${PAGE}v1/names`);
    assert.match((await refused).failure().errorText, /ERR_BLOCKED_BY_RESPONSE/);
    other.close();
  },

  // More queries than anybody can read: few rows, and what was dropped is said. (Played: no machine is slow to order.)
  async flood(browser) {
    const query = { time: new Date().toISOString(), network: "shop", client: "127.10.0.2:4000", container: "web", transport: "udp", type: "A" };
    const rest = { rcode: "NOERROR", answers: ["127.10.0.3"], rule: "T1", why: "a container's name", from: "local", ms: 0.1 };
    const lines = Array.from({ length: 12_000 }, (_, number) => JSON.stringify({ ...query, ...rest, name: `db${number}` }));
    const body = [...lines, JSON.stringify({ dropped: 1234 }), ""].join("\n");
    // Once; when the page comes again it waits.
    let served = false;
    const play = (route) => served || ((served = true), route.fulfill({ contentType: "application/x-ndjson", body }));
    const page = await open(browser, {}, (page) => page.route((url) => url.pathname === "/v1/watch" && !url.search, play));
    await page.locator("#flow", { hasText: "1,234 came too fast to be shown" }).waitFor();
    const list = page.locator("#query-list");
    await until("the newest is on top", async () => (await list.locator(".row .asked").allInnerTexts()).includes("db11999 A"));
    assert.equal(await list.getAttribute("aria-rowcount"), "2000");
    assert.ok((await list.locator(".row").count()) < 60);
    // The filter looks at what came before those, too.
    await page.click("#pause");
    await page.fill("#filter", "db8000");
    await list.locator(".row", { hasText: "db8000 A" }).first().waitFor();
  },

  // The server is away for a while.
  async away(browser) {
    const page = await open(browser);
    await page.route("**/v1/status*", (route) => route.abort());
    await page.locator("#attention .card.bad", { hasText: "The server does not answer" }).waitFor();
    await page.unroute("**/v1/status*");
    await page.locator("#attention .card.bad").waitFor({ state: "detached" });
    assert.match(await page.textContent("#health"), /all is well/);
    complaints.splice(0, complaints.length, ...complaints.filter((text) => !text.includes("ERR_FAILED")));
  },
};

const name = process.argv[2];
let code = 0;
const args = ["--no-sandbox", "--host-resolver-rules=MAP rebound.example 127.0.0.1"];
const browser = await chromium.launch({ executablePath: CHROMIUM, args });
try {
  await scenarios[name](browser);
  assert.deepEqual(complaints, [], "the browser complains");
} catch (error) {
  console.error(error, complaints);
  code = 1;
}
await browser.close();
// Also where a client of a scenario that failed is still open.
process.exit(code);
