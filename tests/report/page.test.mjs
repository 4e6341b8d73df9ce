// The page of `cloudhsm-alerts report` in headless Chromium: it asks for nothing, complains of nothing, has a mark for
// each call that the keyboard reaches, is valid HTML, and is the same page when every field of a record is hostile.
// CLI names the program, CHROMIUM the browser.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { HtmlValidate } from "html-validate/node";
import { chromium } from "playwright-core";

import { incident, hostile } from "./incident.mjs";

let browser, folder;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "report-"));
  // A container's root has no sandbox. The page runs no script, and comes from this program.
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
});

after(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Writes the report of these records; returns its file and its JSON. */
function report(name, records) {
  const log = join(folder, `${name}.json`);
  writeFileSync(log, JSON.stringify({ Records: records }));
  const page = join(folder, `${name}.html`);
  const run = (...more) => execFileSync(process.env.CLI, ["report", log, "--as-of", "2026-11-25", ...more], { stdio: ["ignore", "pipe", "ignore"], maxBuffer: 1 << 28 });
  run("--output", page);
  return { page, json: JSON.parse(run("--format", "json")) };
}

/** Opens a page; collects what it asks for and what the console says. */
async function open(file, options = {}) {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, ...options });
  const seen = { requests: [], console: [] };
  page.on("request", (request) => seen.requests.push(request.url()));
  page.on("console", (message) => seen.console.push(message.text()));
  page.on("pageerror", (error) => seen.console.push(String(error)));
  page.on("dialog", (dialog) => seen.console.push(`dialog: ${dialog.message()}`));
  await page.goto(pathToFileURL(file).href);
  return { page, seen };
}

/** Names of elements and attributes, and the classes, in the order of the page. */
const structure = (page) =>
  page.evaluate(() =>
    [...document.querySelectorAll("*")].map((element) => `${element.localName} ${element.getAttributeNames().sort()} ${element.getAttribute("class") ?? ""}`),
  );

test("the page asks for nothing and says nothing to the console, dark or light, wide or narrow", async () => {
  const { page: file } = report("quiet", incident());
  for (const options of [{}, { colorScheme: "dark" }, { viewport: { width: 400, height: 800 } }]) {
    const { page, seen } = await open(file, options);
    assert.deepEqual(seen, { requests: [pathToFileURL(file).href], console: [] });
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(overflow <= 0, `the page is ${overflow} pixels too wide`);
    await page.close();
  }
});

test("each call has a mark, which the keyboard reaches and which shows the call", async () => {
  const { page: file, json } = report("marks", incident());
  const { page } = await open(file);
  const labels = await page.$$eval("a.mark", (marks) => marks.map((mark) => mark.getAttribute("aria-label")));
  assert.equal(labels.length, json.calls.length);
  assert.ok(labels.length > 10);
  const names = (list) => [...list].sort();
  assert.deepEqual(names(labels.map((label) => / (\w+) (?:SUCCEEDED|was DENIED|FAILED)/.exec(label)[1])), names(json.calls.map((call) => call.event_name)));
  await page.focus(".scroll:has(svg.timeline)");
  const reached = [];
  for (let n = 0; n < labels.length; n++) {
    await page.keyboard.press("Tab");
    reached.push(
      await page.evaluate(() => {
        const tip = document.activeElement.querySelector(".tip");
        return [document.activeElement.getAttribute("aria-label"), tip && getComputedStyle(tip).visibility];
      }),
    );
  }
  assert.deepEqual(reached, labels.map((label) => [label, "visible"]));
  await page.keyboard.press("Enter");
  assert.equal(new URL(page.url()).hash, `#call-${labels.length}`);
  assert.ok(await page.$(`#call-${labels.length}`));
  await page.close();
});

test("marks differ by shape and by outcome, not by colour alone", async () => {
  const { page: file, json } = report("shapes", incident());
  const { page } = await open(file);
  const marks = await page.$$eval("a.mark", (all) => all.map((mark) => `${mark.querySelector("use").getAttribute("href").slice(1)} ${getComputedStyle(mark.querySelector("use")).fill === getComputedStyle(document.documentElement).backgroundColor} ${!!mark.querySelector(".bar")}`));
  const expected = json.calls.map((call) => `${call.severity} ${call.outcome !== "success"} ${call.outcome === "denied"}`);
  assert.deepEqual(marks, expected);
  await page.close();
});

test("text is found by search, also in a folded record", async () => {
  const { page: file } = report("search", incident());
  const { page } = await open(file);
  for (const text of ["backup-zxc7vbn2mas", "restore-backup --region us-west-2", "Not known from these records", "DisconnectCustomKeyStore"]) {
    assert.ok(await page.evaluate((text) => window.find(text), text), text);
  }
  const record = await page.$eval("#call-1 details", (details) => details.textContent);
  assert.match(record, /"eventID": "id-0001"/);
  await page.close();
});

test("hostile records change nothing but text", async () => {
  const plain = await open(report("plain", incident()).page);
  const text = "</pre></svg></style><script>alert(1)</script><img src=x onerror=alert(1)><svg onload=alert(1)><a href=javascript:alert(1)>\u202e\u200b\"'`<style>*{display:none}</style>";
  const bad = await open(report("hostile", hostile(incident(), text)).page);
  // Of the same length and with its slashes, at which an ARN is divided, but without a meaning.
  const tame = await open(report("tame", hostile(incident(), text.replace(/[^a-z0-9/]/g, "_"))).page);
  assert.deepEqual(bad.seen.console, []);
  assert.equal(bad.seen.requests.length, 1);
  assert.deepEqual(await structure(bad.page), await structure(tame.page));
  const scripts = (page) => page.$$eval("script, img, iframe, object, embed, link, [onload], [onerror]", (all) => all.length);
  assert.equal(await scripts(bad.page), 0);
  const links = await bad.page.$$eval("a", (all) => all.map((a) => a.getAttribute("href")).filter((href) => !href.startsWith("#")));
  assert.deepEqual(links, []);
  assert.doesNotMatch(await bad.page.content(), /[\u202e\u200b]/);
  for (const { page } of [plain, bad, tame]) await page.close();
});

test("the page is valid HTML", async () => {
  const validator = new HtmlValidate({
    extends: ["html-validate:standard"],
    rules: {
      // The style sheet is in the page, so that it is one file.
      "require-sri": "off",
      // Template lines end as they come.
      "no-trailing-whitespace": "off",
    },
  });
  for (const [name, records] of [["valid", incident()], ["nothing", []], ["invalid-text", hostile(incident(), "<b>&amp;\"</pre>")]]) {
    const result = await validator.validateFile(report(name, records).page);
    const messages = result.results.flatMap((file) => file.messages.map((message) => `${name}:${message.line}:${message.column} ${message.ruleId}: ${message.message}`));
    assert.deepEqual(messages.slice(0, 20), []);
  }
});

test("the page can be read without styles, and printed", async () => {
  const { page: file } = report("unstyled", incident());
  const { page } = await open(file);
  const pdf = await page.pdf({ format: "A4" });
  assert.equal(pdf.subarray(0, 5).toString(), "%PDF-");
  await page.evaluate(() => document.querySelector("style").remove());
  const headings = await page.$$eval("h2", (all) => all.filter((heading) => heading.checkVisibility()).map((heading) => heading.textContent));
  assert.deepEqual(headings, ["What was read", "What can still be saved", "Timeline", "Where are my keys", "Who did it", "Alerts"]);
  assert.equal(await page.$$eval("a.mark .tip", (tips) => tips.filter((tip) => getComputedStyle(tip).visibility !== "hidden").length), 0);
  await page.close();
});
