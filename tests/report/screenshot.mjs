// docs/report.png: the top of a report and its timeline, as a reader of the README sees it.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

import { incident } from "./incident.mjs";

const [output] = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), "report-"));
try {
  const log = join(folder, "111122223333_CloudTrail_us-west-2_20261123T0600Z_Kd83hFq0aPzW61Lm.json");
  writeFileSync(log, JSON.stringify({ Records: incident() }));
  const page = join(folder, "report.html");
  execFileSync(process.env.CLI, ["report", log, "--output", page, "--as-of", "2026-11-24T09:00:00Z", "--account-names", "111122223333=prod"], { stdio: "ignore" });
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
  const view = await browser.newPage({ viewport: { width: 1160, height: 760 } });
  await view.goto(pathToFileURL(page).href);
  // The sections between the summary and the timeline, and the table, are left out of the picture.
  await view.evaluate(() => {
    for (const id of ["read", "saved"]) document.getElementById(id).hidden = true;
    document.querySelector("body").style.paddingBottom = "0";
  });
  await view.focus("a.mark:nth-of-type(8)");
  const bottom = await view.evaluate(() => {
    scrollTo(0, 0);
    return Math.ceil(document.querySelector("svg.timeline").getBoundingClientRect().bottom) + 24;
  });
  await view.screenshot({ path: output, clip: { x: 0, y: 0, width: 1160, height: bottom }, fullPage: true });
  await browser.close();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
