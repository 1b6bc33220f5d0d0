// Words of these pages with a short explanation, and the "?" that leads to it.

import { h } from "./elements.js";

export const TERMS = new Map(Object.entries({
  trajectory: ["Request", "One question with what answered it: the model, tool or answer that was taken, how long it took and what it cost. In the API and in SQL: trajectory."],
  feedback: ["Feedback", "What was told about an answer after it was given: a rating (thumbs, or a grade from 0 to 100 %), the right answer (a correction), a real cost, or that an earlier word is taken back."],
  quality: ["Quality", "How good an answer was, from 0 to 100 %: a thumb up is 100 %, a thumb down 0 %. A correction counts as 0 % unless it names the answer that was given. Where several people judged one request, it counts by the mean of their words: a thumb up and an agent's correction are 50 %, yet what was corrected to another answer is rated bad. A mean says how many ratings it is of."],
  interval: ["Likely between", "The 95 % interval of a mean: if ratings were collected again and again in the same way, the true mean would lie within such a range 19 times out of 20 (Wilson's interval). Few ratings make a wide range."],
  change: ["Change of quality", "A day from which on the mean rating is higher or lower by at least two points, and by more than ratings and days differ by chance: of 100 spaces in which nothing changed, about one shows such a day. What it came with: an answer, topic, label or user whose own ratings changed, or that came more or less often, and by how many points of the whole."],
  pattern: ["Topic", "A group of questions that are alike, found by learning. What is known about it (quality, best route) is used for the next question that is like them. People may name it. In the API and in SQL: pattern."],
  kind: ["Kind", "What a topic is about: factual, reasoning, creative, code, conversational, or general. It is a guess from where the questions lie among others and from their English words; general where that is unsure."],
  route: ["Route", "What answered: a model, a tool, or one of the stored answers."],
  like: ["On like questions", "What the mean rating of a route would be, had all routes answered the same questions, of the topics that several of them answered: the means of a route within topics and four weeks count by the questions that each topic has, for a router sends hard questions to the better routes. Ratings of topics that one route alone answered say nothing here. There is no figure below 10 others, or where it might be off by 20 points; and none at all where routes with most of the ratings have none. Within a topic questions count as alike. In SQL: routes_on_like_questions."],
  assent: ["As sent", "The plain mean rating of the questions that were sent to a route. Routes that get the hard questions look worse by it than they are."],
  best: ["Best quality", "The route that does best in a topic, of those that are offered now: the one with the highest lower end of where its quality likely lies. It needs at least 10 ratings, of which older ones count less. In the map of an earlier version: of those that there were."],
  offered: ["No longer offered", "A stored answer that was retired. Or a model or tool that none of the latest requests (200 to 1,000) took or could choose, though by its share of all requests 20 or more would have. What was learned of it stays. In SQL: routes_not_offered."],
  succeeded: ["Was best, got worse", "By all of its ratings this route would be the best of the topic, but its own quality fell within the last 90 days, beyond chance and unlike that of all others: only its ratings since then count. The Overview tells the day, and the source where one gave most of these ratings. Another that is shown to be better than it is today needs five ratings to be named in its place."],
  cheapest: ["Cheapest not shown to be worse", "Of the route of the best quality and those whose difference from it may still be chance, the one that costs least. With few ratings the difference may be large: more of them will tell."],
  wrong: ["Rated bad", "How many answers to questions of this topic were rated bad, of those that were rated: 30 % or less, unless the space is set otherwise, or corrected to another answer, also if somebody else liked it."],
  bad: ["Rated bad", "How many answers were rated 30 % or less, unless the space is set otherwise, or corrected to another answer, also if somebody else liked it."],
  misplaced: ["Another was right", "Of the answers that were rated bad: for how many of their questions another answer was said to be right. These were wrongly chosen, and no better wording of this one would help them."],
  itself: ["Bad itself", "The share rated bad of the questions for which no other answer was said to be right. With the number of these ratings and where the share likely lies: ordered by how many of these ratings are surely bad beyond the share that is usual in the space: so much a better text may gain. Where people correct what was wrongly chosen, a high one tells which text to write anew; a thumb down alone does not say why, and an answer that was never rated good may be the right one to no question."],
  version: ["Version", "All that the space has learned up to a moment, numbered. All servers answer by the live one. Earlier ones are kept for a while: one can look at them, and go back to them."],
  learning: ["Learning", "Every so often the new requests and the new feedback are learned from (a run of learning), which makes the next version. Until then new feedback counts as recent evidence."],
  waiting: ["Not learned yet", "Requests and pieces of feedback that no run of learning has read yet, each counted once. They wait for the next one."],
  adapter: ["Adapter", "A small correction that learning adds to the embedding of a question, so that it lies nearer to questions with the same right answer. The angle tells how far it turns this one: 0° leaves it as it is."],
  confidence: ["Confidence", "How probable it is that the first answer would be rated right: learned from how often answers with such scores were, together with what people said of this very answer to questions like it, the nearest weighing most. Not known before the first learning. The chat says that it is not sure below 50 %."],
  similarity: ["Similarity", "How alike two questions are by their embeddings: 1 is the same, 0 has nothing to do with it."],
  gate: ["Check of a version", "Judges each new version: whether the choices since it went live turned out worse than those of the version before. A worse one is taken back by itself. A difference is given in brackets. In the API and in SQL: gate."],
  judged: ["Judged together", "Versions follow one another faster than they can be checked. While an older one is still being judged, the choices of the newer ones count for the same judgement."],
  cycle: ["Run of learning", "Background: learns from what is new, and makes a version. Deep: tidies what is known, and lets the memory graph dream. In the API and in SQL: cycle."],
  groups: ["Changes of topics", "What a run of learning did to topics: found new ones, joined those that had become alike, and dropped those that were hardly used any more."],
  memory: ["Memory graph", "A network of topics and answers that were used in the same session. It helps to find what is needed next."],
  dream: ["Dream", "A connection that no use has shown yet, but that the memory graph proposes because of what lies between. It counts for little until use confirms it."],
  use: ["Use", "How often something was used within sessions. A topic is used by each request of a session that is nearest to it. A stored answer is used where it was given and is rated 50 % or better, or where a correction names it: that is less often than it was given. Requests without a session, and what is not learned yet, are not counted."],
  importance: ["Importance", "How much of the network hangs on a node, from 0 to 100 %."],
  strength: ["Strength of a connection", "From 0 to 100 %: each use of both moves it a hundredth of the way to 100 %, each use of one where the other was at hand but not used moves it back, and it fades while nothing uses it. For things that are alike it is how alike they are."],
  routescost: ["Routes’ cost", "What the questions of a topic cost in all, or 1,000 of them, by the mean cost of each route in the whole space, weighed by how often each was taken for these. These very questions may have cost more or less."],
  budget: ["Budget", "A limit of spending, for a request or for a day, shared by all servers. The router keeps within it by taking cheaper routes where they do."],
  estimated: ["Estimate of other choices", "What ratings say of choices that were not made. The router notes how probable each of its choices was; a rated choice that another policy makes more often counts for more, and a model fills in what is missing (doubly robust, off-policy evaluation). It needs choices like those of the policy: without them there is no estimate."],
  mix: ["Constant mix", "What the same budget would give if routes were drawn by fixed shares, whatever is asked: by the shares that are expected to give most, of the routes that are offered. It is estimated as the router is, and of the same choices. A router is worth it where its quality is higher."],
  pace: ["Pace", "What was spent, compared with what the budget allows up to now: of a day, its amount times the part of the day that is over, in UTC. Above 100 %, cheaper routes are chosen, so that the money lasts."],
  server: ["Server", "A process that has this space open: it answers and records. A call of the command line is one as well, and ends at once."],
  skew: ["Clock", "How far the clock of a server is from that of the database. Times come from the database, so it changes nothing here."],
  erasure: ["Erasure", "Removal of the data of a person, and of everything that was learned from it. Versions that had learned from it are dropped."],
  rollback: ["Rollback", "Going back to an earlier version. It is a new version with the content of the old one."],
}));

export function help(word) {
  const [name, text] = TERMS.get(word);
  return h("a", { class: "help", href: `glossary#${word}`, title: text, "aria-label": `What is ${name}? ${text}` }, "?");
}

// A word with its "?", as a heading of a column, a tile or an entry. The parts keep together.
export const term = (words, word) => h("span", { class: "term" }, words, " ", help(word));
