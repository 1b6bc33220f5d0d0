// ServiceError: what a call rejects with. Between a client and the service stand proxies, which answer while the service is
// away: with 502, with a page of their own, even with 404 or 200. Only problem details (RFC 9457) are the service's word.

const PROBLEM = "application/problem+json";

/** A refusal of the service (RFC 9457), an answer that is not the service's, or no answer at all (`status` 0). */
export class ServiceError extends Error {
  constructor(status, detail, { errors = [], retryAfter = null, fromService = false, cause } = {}) {
    super(detail, { cause });
    this.name = "ServiceError";
    this.status = status;
    this.errors = errors;
    this.retryAfter = retryAfter; // seconds
    this.fromService = fromService; // else a proxy has answered, or nobody
  }

  /** Whether the same request may succeed later. */
  get isPassing() {
    return !this.fromService || this.status === 429 || this.status >= 500;
  }
}

/** Whether a response is the service's, by its type: a page of a proxy or a router is not, and its Date may be any. */
export function isOfService(response) {
  const type = typeOf(response);
  if (!response.ok) return response.status === 304 || type.includes(PROBLEM);
  return type.includes("json") || type.includes("text/event-stream");
}

/** Return a response's refusal. */
export async function refusalOf(response, url) {
  const { status, statusText, headers } = response;
  const wait = Number(headers.get("retry-after"));
  const retryAfter = wait > 0 ? wait : null;
  if (!typeOf(response).includes(PROBLEM)) {
    return new ServiceError(status, `${status} ${statusText} of ${url}, which is no answer of the service: a proxy may be in between`, { retryAfter });
  }
  const { detail, errors } = await json(response, url);
  return new ServiceError(status, detail ?? `${status} ${statusText}`, { errors, retryAfter, fromService: true });
}

/** Read an answer; rejects with a ServiceError if it is cut short, or no JSON. */
export async function answerOf(response, url) {
  if (typeOf(response).includes("json")) return json(response, url);
  throw new ServiceError(response.status, `${url} answers with ${typeOf(response) || "no Content-Type"}, which is no answer of the service: a proxy may be in between`);
}

async function json(response, url) {
  try {
    return await response.json();
  } catch (cause) {
    throw new ServiceError(0, `the answer of ${url} cannot be read: ${cause.message}`, { cause });
  }
}

const typeOf = (response) => response.headers.get("content-type") ?? "";
