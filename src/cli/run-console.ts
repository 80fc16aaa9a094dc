import { Output } from './output.ts'

/** What the guest prints, gathered so that a character is not a system call of ours. */
export class RunConsole {
  readonly output = new Output(1)
  private bytes: number[] = []

  push(byte: number): void {
    this.bytes.push(byte)
  }
  flush(): void {
    if (this.bytes.length === 0) return
    this.output.write(Uint8Array.from(this.bytes))
    this.bytes = []
  }
}
