import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { checkWritable } from "../../lib/cli/files.js";
import { scratch } from "../checkpoint/files.js";

const folder = scratch();
const existing = join(folder, "existing");
writeFileSync(existing, "");
const refusal = (message: string) => expect.objectContaining({ code: "IO_ERROR", message });

test("a new file and one that exists can be written, and nothing is created", async () => {
  const file = join(folder, "new");
  await checkWritable(file);
  expect(existsSync(file)).toBe(false);
  await checkWritable(existing);
  await checkWritable("/dev/null");
});

test("a file in a missing folder, or below a file, is refused, as are a folder and a FIFO", async () => {
  const missing = join(folder, "missing/file");
  await expect(checkWritable(missing)).rejects.toThrowError(
    refusal(`cannot write ${missing}: the folder ${join(folder, "missing")} does not exist`),
  );
  await expect(checkWritable(folder)).rejects.toThrowError(refusal(`cannot write ${folder}: it is a folder`));
  const fifo = join(folder, "fifo");
  execFileSync("mkfifo", [fifo]);
  await expect(checkWritable(fifo)).rejects.toThrowError(refusal(`cannot write ${fifo}: it is not a regular file`));
  const below = join(existing, "file");
  await expect(checkWritable(below)).rejects.toThrowError(
    refusal(`cannot write ${below}: ${existing} is not a folder`),
  );
});

test.skipIf(process.getuid?.() === 0)("a file without permission is refused with the system's reason", async () => {
  const file = join(folder, "readonly");
  writeFileSync(file, "");
  chmodSync(file, 0o400);
  await expect(checkWritable(file)).rejects.toThrowError(/^cannot write .*readonly: EACCES/);
});
