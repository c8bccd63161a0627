// node examples/client.mjs me.jpg [address]          (while `personae serve` runs; Node 18 or a browser)
// A job from JavaScript: send it, follow its events, fetch its files.
import { readFile, writeFile } from "node:fs/promises";
import { basename } from "node:path";

const [photo, address = "http://127.0.0.1:8000", out = ".", steps = "12"] = process.argv.slice(2);

async function* events(url) {
  const decoder = new TextDecoder();
  let text = "";
  const answer = await fetch(url);
  if (!answer.ok) throw new Error((await answer.json()).error.message);
  for await (const chunk of answer.body) {
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

// Sent again if the line breaks or the server is busy: the key makes it the same job.
async function send(tries) {
  const headers = { "Idempotency-Key": crypto.randomUUID() };
  for (;;) {
    tries -= 1;
    let pause = 1;
    try {
      const answer = await fetch(`${address}/v1/generate`, { method: "POST", body: form, headers });
      const content = await answer.json();
      if (answer.ok) return content;
      if (![429, 503].includes(answer.status) || !tries) throw new Error(content.error.message);
      pause = Number(answer.headers.get("Retry-After") ?? pause);
    } catch (error) {
      if (!(error instanceof TypeError) || !tries) throw error; // a TypeError is fetch's: no connection
    }
    await new Promise((resolve) => setTimeout(resolve, 1000 * pause));
  }
}

let job = await send(5);
let name = "";
while (name !== "end") {
  // A stream ends after some minutes: the next one goes on.
  for await (const event of events(address + job.events)) {
    name = event.name;
    if (name === "end") job = event;
    else console.error(`${event.stage} ${event.step}/${event.steps}`);
  }
}
if (job.status !== "done") throw new Error(job.error?.message ?? `the job was ${job.status}`);
for (const file of job.result.files) {
  const path = `${out}/me-seed${file.seed}.png`;
  await writeFile(path, Buffer.from(await (await fetch(address + file.url)).arrayBuffer()));
  console.log(path);
}
