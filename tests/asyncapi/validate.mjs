// Reads AsyncAPI documents, a JSON array of them, from stdin; prints what the official parser says
// about each: an array of arrays of { severity, code, path, message }.
import { Parser } from '@asyncapi/parser';

const SEVERITIES = ['error', 'warning', 'info', 'hint'];

const chunks = [];
for await (const chunk of process.stdin) {
  chunks.push(chunk);
}
const documents = JSON.parse(Buffer.concat(chunks).toString());
const found = [];
for (const document of documents) {
  const { diagnostics } = await new Parser().parse(JSON.stringify(document));
  found.push(
    diagnostics.map(({ severity, code, path, message }) => ({
      severity: SEVERITIES[severity],
      code: String(code),
      path: path.join('/'),
      message,
    })),
  );
}
process.stdout.write(JSON.stringify(found));
