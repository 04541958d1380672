// A player is a row of images of which one is shown, a slider that says which, and a button that moves the slider.
for (const player of document.querySelectorAll('.player')) {
  const images = player.querySelectorAll('img');
  const slider = player.querySelector('input');
  const output = player.querySelector('output');
  const button = player.querySelector('button');
  const endless = 'endless' in player.dataset;
  let timer = null;

  const show = () => {
    const shown = Number(slider.value);
    images.forEach((image, i) => { image.hidden = i !== shown; });
    output.textContent = images[shown].dataset.at;
    slider.setAttribute('aria-valuetext', images[shown].alt);
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    button.textContent = 'Play';
  };
  const advance = () => {
    const next = Number(slider.value) + 1;
    if (next === images.length && !endless) return stop();
    slider.value = next % images.length;
    show();
  };

  slider.addEventListener('input', () => { stop(); show(); });
  button.addEventListener('click', () => {
    if (timer !== null) return stop();
    if (Number(slider.value) === images.length - 1) slider.value = 0;
    show();
    button.textContent = 'Pause';
    timer = setInterval(advance, Number(player.dataset.milliseconds));
  });
  show();
}
