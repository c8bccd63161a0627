// node examples/client.mjs me.jpg [address]          (while `personae serve` runs; Node 18 or a browser)
// A job from JavaScript: send it, follow its events, fetch its files.
import { readFile, writeFile } from "node:fs/promises";
import { basename } from "node:path";

const [photo, address = "http://127.0.0.1:8000", out = ".", steps = "12"] = process.argv.slice(2);

async function* events(url) {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of (await fetch(url)).body) {
    text += decoder.decode(chunk, { stream: true });
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s)));
      if (fields.data) yield { name: fields.event, ...JSON.parse(fields.data) };
    }
  }
}

const form = new FormData();
const request = {
  consent: true, // everyone in the photo agreed to this
  people: [basename(photo)],
  seed: 7,
  options: { num_inference_steps: Number(steps) },
};
form.append("request", JSON.stringify(request));
form.append("files", new Blob([await readFile(photo)]), basename(photo));

const headers = { "Idempotency-Key": crypto.randomUUID() }; // sent again, it is the same job
const answer = await fetch(`${address}/v1/generate`, { method: "POST", body: form, headers });
let job = await answer.json();
if (!answer.ok) throw new Error(job.error.message);

for await (const event of events(address + job.events)) {
  if (event.name === "end") job = event;
  else console.error(`${event.stage} ${event.step}/${event.steps}`);
}
if (job.error) throw new Error(job.error.message);
for (const file of job.result.files) {
  const path = `${out}/me-seed${file.seed}.png`;
  await writeFile(path, Buffer.from(await (await fetch(address + file.url)).arrayBuffer()));
  console.log(path);
}
