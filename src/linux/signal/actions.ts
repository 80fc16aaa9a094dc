import { NSIG } from './signals.ts'

export const SIG_DFL = 0
export const SIG_IGN = 1

export const SA_NOCLDSTOP = 1
export const SA_NOCLDWAIT = 2
export const SA_SIGINFO = 4
export const SA_RESTORER = 0x04000000
export const SA_ONSTACK = 0x08000000
export const SA_RESTART = 0x10000000
export const SA_NODEFER = 0x40000000
export const SA_RESETHAND = 0x80000000 | 0

export interface SignalAction {
  /** User address, SIG_DFL or SIG_IGN. */
  handler: number
  flags: number
  restorer: number
  maskLo: number
  maskHi: number
}

function defaultSignalAction(): SignalAction {
  return { handler: SIG_DFL, flags: 0, restorer: 0, maskLo: 0, maskHi: 0 }
}

/** What a process does about each signal (struct sighand_struct); shared by tasks cloned with CLONE_SIGHAND. */
export class SignalActions {
  private readonly table: SignalAction[] = Array.from({ length: NSIG + 1 }, defaultSignalAction)
  users = 1

  get(signal: number): SignalAction {
    return this.table[signal]
  }
  set(signal: number, action: SignalAction): void {
    this.table[signal] = action
  }
  copy(): SignalActions {
    const copy = new SignalActions()
    for (let i = 1; i <= NSIG; i++) copy.table[i] = { ...this.table[i] }
    return copy
  }
  /** exec: handlers become default, ignored signals stay ignored. */
  resetHandlers(): void {
    for (let i = 1; i <= NSIG; i++) {
      const ignored = this.table[i].handler === SIG_IGN
      this.table[i] = defaultSignalAction()
      if (ignored) this.table[i].handler = SIG_IGN
    }
  }
}
