import type { Kernel } from '../linux/kernel.ts'
import type { Refusal } from '../linux/refusal.ts'
import { chainLines } from './explain.ts'
import { oneLine } from './report.ts'

/** So many programs are explained at the end of a run; a run that loses more has one reason, most likely. */
const EXPLAINED = 5

interface Death {
  readonly who: string
  readonly signal: string
  readonly reason: Refusal
}

/** Programs that died because something was refused to them: told at the end of a run, after what they printed themselves. */
export class Deaths {
  private readonly list: Death[] = []
  private more = 0

  constructor(kernel: Kernel) {
    kernel.trace.death = (task, signal, reason) => {
      if (reason === null) return
      if (this.list.length < EXPLAINED) this.list.push({ who: `${task.comm}[${task.tid}]`, signal, reason })
      else this.more++
    }
  }

  report(): void {
    for (const { who, signal, reason } of this.list) {
      process.stderr.write(`worldswitch: ${oneLine(`${who} was killed by ${signal}: ${reason.sentence} (${reason.rule})`)}\n`)
      for (const line of chainLines(reason)) process.stderr.write(`${line}\n`)
    }
    if (this.more > 0) process.stderr.write(`worldswitch: ${this.more} more were killed by what was refused to them\n`)
  }
}
