/** docs/errors.md: a table of `errorCodes` in lib/errors.ts. */
export function errorPage(errorCodes) {
  const rows = Object.entries(errorCodes).map(([code, { when, fix }]) => `| \`${code}\` | ${when} | ${fix} |`);
  return `<!-- Written by \`node scripts/docs.mjs\` from lib/errors.ts. Do not edit. -->
# Errors

Everything that Caracal throws is a \`CaracalError\`. Its \`code\` is one of the following and never changes between
versions; its \`message\` says what was expected, what was found and how to fix it; its \`details\` hold the offending
values, where there are any. Operations run after the call that queued them, so an error in their data comes from
reading a result.

\`\`\`ts
try {
  await using model = await OmniModel.load("models/mini");
} catch (error) {
  if (error instanceof CaracalError && error.code === "CHECKPOINT_INVALID") console.error(error.message);
  else throw error;
}
\`\`\`

| code | when | what to do |
|---|---|---|
${rows.join("\n")}
`;
}
