/** What the guest prints, gathered so that a character is not a system call of ours. */
export class RunConsole {
  private bytes: number[] = []

  push(byte: number): void {
    this.bytes.push(byte)
  }
  flush(): void {
    if (this.bytes.length === 0) return
    process.stdout.write(Uint8Array.from(this.bytes))
    this.bytes = []
  }
}
