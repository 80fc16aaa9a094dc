/**
 * Something our user asked for that cannot be: a name we do not know, a value out of range. Data first; the message is made
 * from it, so that the command line, the web page and tests say the same thing. Faults and errnos of the model are not this.
 */
export class UserError extends Error {
  /** Stable kebab-case identifier of the kind of mistake. */
  readonly code: string
  /** What could not be done, one clause. */
  readonly what: string
  /** Which argument, file, position. */
  readonly where: string
  /** Why, with the values. */
  readonly because: string
  /** What to do instead; empty if nothing is known to help. */
  readonly fix: string
  /** Names close to an unknown one, best first. */
  readonly nearest: readonly string[]

  constructor(fields: {
    code: string
    what: string
    where: string
    because: string
    fix: string
    nearest?: readonly string[]
  }) {
    super(`${fields.what} (${fields.where}): ${fields.because}${fields.fix === '' ? '' : `; ${fields.fix}`}`)
    this.name = 'UserError'
    this.code = fields.code
    this.what = fields.what
    this.where = fields.where
    this.because = fields.because
    this.fix = fields.fix
    this.nearest = fields.nearest ?? []
  }
}

/** Edits (insert, delete, replace, swap neighbours) that turn `a` into `b`. */
export function editDistance(a: string, b: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const replace = last[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1)
      row[j] = Math.min(last[j] + 1, row[j - 1] + 1, replace)
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
      if (swapped) row[j] = Math.min(row[j], beforeLast[j - 2] + 1)
    }
    beforeLast = last
    last = row
  }
  return last[b.length]
}

/** Up to three names a misspelt `given` may have meant, nearest first; case is ignored. Empty if nothing is near. */
export function nearestNames(given: string, names: Iterable<string>): string[] {
  const wanted = given.toLowerCase()
  const limit = Math.max(2, Math.floor(wanted.length / 3))
  const ranked: { name: string; distance: number }[] = []
  for (const name of names) {
    const candidate = name.toLowerCase()
    const shorter = Math.min(candidate.length, wanted.length)
    const partOfOther = shorter >= 3 && (candidate.includes(wanted) || wanted.includes(candidate))
    const distance = partOfOther ? Math.min(editDistance(wanted, candidate), limit) : editDistance(wanted, candidate)
    if (distance <= limit) ranked.push({ name, distance })
  }
  ranked.sort((x, y) => x.distance - y.distance || (x.name < y.name ? -1 : 1))
  return ranked.slice(0, 3).map((r) => r.name)
}

/** `did you mean A, B or C?`, or a hint where to find the names when none is near. */
export function suggestion(nearest: readonly string[], otherwise: string): string {
  if (nearest.length === 0) return otherwise
  if (nearest.length === 1) return `did you mean ${nearest[0]}?`
  return `did you mean ${nearest.slice(0, -1).join(', ')} or ${nearest[nearest.length - 1]}?`
}
