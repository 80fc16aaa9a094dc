/** What SPIN's verifier (pan) says at its end. */
export interface PanResult {
  /** undecided: pan stopped before it had seen every state, and nothing was violated so far. */
  readonly verdict: 'holds' | 'violated' | 'undecided'
  /** Name of the assertion that did not hold. */
  readonly assertion: string | null
  /** Steps of the shortest run that violates it: pan searches breadth first. */
  readonly steps: number | null
  readonly states: number
  /** Between states: pan counts the way into the initial one too. */
  readonly transitions: number
}

const number = (text: string, what: RegExp): number => {
  const found = what.exec(text)
  if (found === null) throw new Error(`pan's output has no ${what.source}: ${text.trim().split('\n')[0]}`)
  return Number(found[1])
}

/**
 * Reads what pan printed.
 * @throws Error for an error that is no violated assertion, and for output that is not pan's: then the model is wrong, not the protocol
 */
export function parsePanOutput(text: string): PanResult {
  const errors = number(text, /errors: (\d+)/)
  const states = number(text, /(\d+) states, stored/)
  const transitions = number(text, /(\d+) transitions/) - 1
  if (errors === 0) {
    const isComplete = !/Search not completed|out of memory|max search depth too small/.test(text)
    return { verdict: isComplete ? 'holds' : 'undecided', assertion: null, steps: null, states, transitions }
  }
  const violated = /^pan:\d+: assertion violated \(?(\w+)\)? \(at depth (\d+)\)/m.exec(text)
  if (violated === null) throw new Error(/^pan:\d+: (.*)$/m.exec(text)?.[1] ?? 'pan found an error and does not say which')
  // Depth counts from 0.
  return { verdict: 'violated', assertion: violated[1], steps: Number(violated[2]) + 1, states, transitions }
}
