// The official client in JavaScript against the server of agents: node agents.mjs BASE_URL KEY MODEL_OF_VECTORS.
// Prints what it saw as JSON.
import OpenAI from "openai";

const [baseURL, apiKey, vectors] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const model = "support";
const question = "What is the weather in Lisbon?";
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const weather = { name: "get_weather", description: "Get the present weather of a city.", parameters };
const messages = [{ role: "user", content: question }];
const chatTools = [{ type: "function", function: weather }];
const responseTools = [{ type: "function", ...weather }];
const seen = {};

const first = await client.chat.completions.create({ model, messages, tools: chatTools });
const call = first.choices[0].message.tool_calls[0];
seen.chatCall = [first.choices[0].finish_reason, call.function.name, JSON.parse(call.function.arguments).city];
const result = { role: "tool", tool_call_id: call.id, content: '{"sky": "clear"}' };
const rest = [...messages, first.choices[0].message, result];
const second = await client.chat.completions.create({ model, messages: rest, tools: chatTools });
seen.chatGoesOn = [second.object, second.id !== first.id];

const run = client.chat.completions.runTools({
  model,
  messages,
  tools: [{ type: "function", function: { ...weather, parse: JSON.parse, function: () => ({ sky: "clear", celsius: 21 }) } }],
}, { maxChatCompletions: 4 });
seen.toolsRun = (await run.finalContent()).includes("21");

const streamed = client.chat.completions.stream({ model, messages, tools: chatTools });
seen.chatStream = (await streamed.finalChatCompletion()).choices[0].message.tool_calls[0].function.name;

const opened = await client.responses.create({ model, input: question, tools: responseTools });
const wanted = opened.output.find((item) => item.type === "function_call");
seen.responseCall = [opened.status, wanted.name, JSON.parse(wanted.arguments).city];
const output = { type: "function_call_output", call_id: wanted.call_id, output: "clear" };
const input = [{ role: "user", content: question }, wanted, output];
const closed = await client.responses.create({ model, input, tools: responseTools });
seen.responseGoesOn = [closed.status, closed.id !== opened.id];

const vpn = "How long does a VPN session last before I have to sign in again?";
const whole = await client.responses.create({ model, input: vpn });
let deltas = "";
const kinds = new Set();
for await (const event of await client.responses.create({ model, input: vpn, stream: true })) {
  kinds.add(event.type);
  if (event.type === "response.output_text.delta") deltas += event.delta;
}
seen.response = [whole.status, whole.output_text.includes("12 hours"), deltas === whole.output_text];
seen.responseEnds = kinds.has("response.completed");
seen.responseAgain = (await client.responses.retrieve(whole.id)).output_text === whole.output_text;

const plain = await client.embeddings.create({ model: vectors, input: ["one", "two"], encoding_format: "float" });
const packed = await client.embeddings.create({ model: vectors, input: ["one", "two"] });
seen.embeddings = plain.data.map((row) => row.embedding.length);
seen.embeddingsAgree = plain.data.every((row, at) =>
  row.embedding.every((number, place) => Math.abs(number - packed.data[at].embedding[place]) < 1e-6),
);
try {
  await client.embeddings.create({ model: "nothing", input: "one" });
} catch (error) {
  seen.error = [error.constructor.name, error.status, error.code, error.param];
}

console.log(JSON.stringify(seen));
