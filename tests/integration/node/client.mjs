// The official client in JavaScript against a simulator: node client.mjs BASE_URL. Prints what it saw as JSON.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "sk-test", maxRetries: 2 });
const ask = (text, more = {}) => ({ model: "gpt-5", messages: [{ role: "user", content: text }], ...more });
const parameters = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};
const tools = [{ type: "function", function: { name: "get_weather", parameters } }];
const seen = {};

const whole = await client.chat.completions.create(ask("Hello."));
seen.chat = whole.choices[0].message.content;

let streamed = "";
let usage = null;
const options = { stream: true, stream_options: { include_usage: true } };
for await (const chunk of await client.chat.completions.create(ask("Hello.", options))) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
seen.stream = streamed;
seen.usageAgrees = JSON.stringify(usage) === JSON.stringify(whole.usage);

const runner = client.chat.completions.runTools(
  ask("The weather?", {
    tools: [
      {
        type: "function",
        function: {
          name: "get_weather",
          description: "Weather of a city.",
          parameters,
          parse: JSON.parse,
          function: ({ city }) => `sunny in ${city}`,
        },
      },
    ],
  }),
);
seen.tools = await runner.finalContent();

const final = await client.chat.completions.stream(ask("The weather?", { tools })).finalChatCompletion();
seen.fragments = final.choices[0].message.tool_calls.map((call) => call.function.arguments);

const format = { type: "json_schema", json_schema: { name: "place", strict: true, schema: parameters } };
const parsed = await client.chat.completions.parse(ask("parse", { response_format: format }));
seen.parsed = JSON.parse(parsed.choices[0].message.content);

const response = await client.responses.create({ model: "gpt-5", input: "Hello." });
seen.responses = response.output_text;
let deltas = "";
for await (const event of await client.responses.create({ model: "gpt-5", input: "Hello.", stream: true })) {
  if (event.type === "response.output_text.delta") deltas += event.delta;
}
seen.responsesStream = deltas;

const vectors = await client.embeddings.create({ model: "text-embedding-3-small", input: ["a", "b"] });
seen.embeddings = vectors.data.map((item) => item.embedding.length);

try {
  await client.chat.completions.create(ask("Hello.", { temperature: 7 }));
} catch (error) {
  seen.error = [error.constructor.name, error.status, error.param, error.code];
}
seen.retried = (await client.chat.completions.create(ask("fails once"))).choices[0].message.content;

console.log(JSON.stringify(seen));
