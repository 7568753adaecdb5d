/* The current request as commands and programs to copy. Pure. A token is never written out: it is taken from $TOKEN. */

export const SNIPPETS = {
  WS: { websocat, Python: pythonSocket, JavaScript: scriptSocket },
  HTTP: { curl, Python: pythonCall, JavaScript: scriptCall },
};

/* Each takes {method, url, body, isToken, streams} and returns text. */

function curl({ method, url, body, isToken, streams }) {
  const parts = [`curl ${streams ? "--no-buffer " : ""}${method === "GET" ? "" : `-X ${method} `}${quoted(url)}`];
  if (isToken) {
    parts.push(`-H "Authorization: Bearer $TOKEN"`);
  }
  if (body) {
    parts.push(`-H 'Content-Type: application/json'`, `-d ${quoted(body)}`);
  }
  return parts.join(" \\\n  ");
}

function websocat({ url, body, isToken }) {
  const header = isToken ? ` -H "Authorization: Bearer $TOKEN"` : "";
  return `websocat${header} ${quoted(url)}\n# ${note(body)}`;
}

function pythonSocket({ url, body, isToken }) {
  const header = isToken ? `, additional_headers={"Authorization": "Bearer " + os.environ["TOKEN"]}` : "";
  return `import asyncio${isToken ? ", os" : ""}
from websockets.asyncio.client import connect

async def main():
    async with connect(${text(url)}${header}) as socket:
        await socket.send(${text(oneLine(body))})
        async for frame in socket:
            print(frame)

asyncio.run(main())`;
}

function pythonCall({ method, url, body, isToken, streams }) {
  const headers = [
    ...(body ? [`"Content-Type": "application/json"`] : []),
    ...(isToken ? [`"Authorization": "Bearer " + os.environ["TOKEN"]`] : []),
  ];
  const rest = [
    ...(headers.length ? [`headers={${headers.join(", ")}}`] : []),
    ...(body ? [`content=${text(oneLine(body))}.encode()`] : []),
    "timeout=60",
  ];
  const call = `(${text(method)}, ${text(url)}, ${rest.join(", ")})`;
  const imports = `import ${isToken ? "os\nimport " : ""}httpx\n\n`;
  if (!streams) {
    return `${imports}print(httpx.request${call}.text)`;
  }
  return `${imports}with httpx.stream${call} as answer:\n    for line in answer.iter_lines():\n        print(line)`;
}

const SCRIPT_TOKEN = `const TOKEN = globalThis.process?.env.TOKEN ?? prompt("Token");\n`;

function scriptSocket({ url, body, isToken }) {
  const protocols = isToken ? ", [`bearer.${TOKEN}`]" : "";
  return `${isToken ? SCRIPT_TOKEN : ""}const socket = new WebSocket(${text(url)}${protocols});
socket.onmessage = ({ data }) => console.log(data);
socket.onopen = () => socket.send(${text(oneLine(body))});`;
}

function scriptCall({ method, url, body, isToken, streams }) {
  const token = isToken ? SCRIPT_TOKEN : "";
  const headers = [
    ...(body ? [`"Content-Type": "application/json"`] : []),
    ...(isToken ? ["Authorization: `Bearer ${TOKEN}`"] : []),
  ];
  const options = [
    ...(method === "GET" ? [] : [`  method: ${text(method)},`]),
    ...(headers.length ? [`  headers: { ${headers.join(", ")} },`] : []),
    ...(body ? [`  body: ${text(oneLine(body))},`] : []),
  ];
  const call = `fetch(${text(url)}${options.length ? `, {\n${options.join("\n")}\n}` : ""})`;
  if (!streams) {
    return `${token}const answer = await ${call};\nconsole.log(await answer.text());`;
  }
  return `${token}const answer = await ${call};
for await (const part of answer.body.pipeThrough(new TextDecoderStream())) {
  console.log(part);
}`;
}

/* Returns text as a word of a shell. */
function quoted(words) {
  return `'${words.replaceAll("'", `'\\''`)}'`;
}

/* Returns text as a string of JavaScript, which is one of Python too. */
function text(words) {
  return JSON.stringify(words);
}

/* JSON on one line, whatever else it is as it stands. */
function oneLine(body) {
  try {
    return JSON.stringify(JSON.parse(body));
  } catch {
    return body;
  }
}

function note(body) {
  return oneLine(body).replaceAll("\n", " ");
}
